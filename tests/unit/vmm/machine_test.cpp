// Where a VM has a machine's memory: everywhere but where KVM has memory of its own. And how a machine grows.
#include "vmm/memory/machine.hpp"

#include <gtest/gtest.h>

#include "vmm/kvm/private_memory.hpp"

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t four_gib = 1UL << 20;  // in frames

TEST(Machine, has_all_its_frames_in_slots_but_those_that_kvm_takes) {
  const std::uint64_t sizes[] = {0UL,
                                 1UL,
                                 1000UL,
                                 first_private_frame.raw() - 1,
                                 first_private_frame.raw(),
                                 first_private_frame.raw() + 2,
                                 private_frames_end.raw(),
                                 private_frames_end.raw() + 1,
                                 four_gib,
                                 8 * four_gib};
  for (const std::uint64_t from : sizes)
    for (const std::uint64_t to : sizes) {
      if (from >= to) continue;
      std::uint64_t in_slots = 0, end = from;
      for (const auto& range : Machine::slots(from, to)) {
        EXPECT_GT(range.count, 0U);
        EXPECT_GE(range.first.raw(), end);
        EXPECT_TRUE(range.end() <= first_private_frame || private_frames_end <= range.first);
        in_slots += range.count;
        end = range.end().raw();
      }
      EXPECT_LE(end, to);
      std::uint64_t private_ones = 0;
      for (Mfn mfn = first_private_frame; mfn < private_frames_end; mfn = mfn.plus(1))
        if (mfn.raw() >= from && mfn.raw() < to) ++private_ones;
      EXPECT_EQ(in_slots + private_ones, to - from) << from << " to " << to;
    }
}

TEST(Machine, of_more_than_4_gib_withholds_what_kvm_takes) {
  const auto machine = Machine::create(four_gib + 100).value();
  EXPECT_EQ(machine->frames().withheld().first, first_private_frame);
  EXPECT_EQ(machine->frames().withheld().count, private_pages);
  EXPECT_EQ(Machine::create(1000).value()->frames().withheld().count, 0U);
}

/// Notes what it is told, and can refuse to follow.
class Follower final : public MachineTenant {
 public:
  explicit Follower(Machine& machine) : machine_(machine) { machine_.join(machine_.hold_size(), *this); }
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;
  ~Follower() { machine_.leave(*this); }

  tl::expected<void, std::string> make_room(std::uint64_t from, std::uint64_t to) override {
    EXPECT_EQ(from, frames);
    if (refuses) return tl::unexpected(std::string("no room here"));
    room = to;
    return {};
  }
  void take_back_room() override { room = frames; }
  void machine_grew(std::uint64_t to) override {
    EXPECT_EQ(to, room);
    EXPECT_EQ(machine_.frames().free_frames(), free_then) << "a frame is nobody's before all know of it";
    frames = to;
  }
  [[nodiscard]] std::uint64_t most_frames() const override { return most; }
  bool refuses = false;
  std::uint64_t most = 99;
  std::uint64_t frames = 100, room = 100, free_then = 99;

 private:
  Machine& machine_;
};

TEST(Machine, that_grows_has_more_frames_in_its_old_place) {
  const auto machine = Machine::create(100, 2 * four_gib).value();
  Follower one(*machine), two(*machine);
  const auto taken = machine->frames().take(DomId(1), 99);
  one.free_then = two.free_then = 0;
  std::byte* const page = machine->pages().page(50);
  page[7] = std::byte{42};
  machine->m2p().store(0, 50, 1234);
  ASSERT_TRUE(machine->grow(four_gib + 100));
  EXPECT_EQ(one.frames, four_gib + 100);
  EXPECT_EQ(two.frames, four_gib + 100);
  EXPECT_EQ(machine->frames().size(), four_gib + 100);
  EXPECT_EQ(machine->frames().free_frames(), four_gib - private_pages);
  EXPECT_EQ(machine->frames().owner_tag(taken->first), pvmmu::FrameTable::tag_of(DomId(1)));
  EXPECT_EQ(machine->pages().page(50), page);
  EXPECT_EQ(page[7], std::byte{42});
  EXPECT_EQ(machine->m2p().load(0, 50), 1234U);
  for (const std::uint64_t mfn : {std::uint64_t{100}, four_gib, four_gib + 99})
    EXPECT_EQ(machine->m2p().load(mfn / 512, mfn % 512), ~0ULL) << mfn;
  machine->pages().page(four_gib + 99)[0] = std::byte{1};
}

TEST(Machine, that_can_not_grow_stays_as_it_was) {
  const auto machine = Machine::create(100, 1000).value();
  Follower one(*machine), two(*machine), three(*machine);
  three.refuses = true;
  const auto refused = machine->grow(512);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().find("no room here"), std::string::npos) << refused.error();
  for (const Follower* follower : {&one, &two, &three}) {
    EXPECT_EQ(follower->frames, 100U);
    EXPECT_EQ(follower->room, 100U);
  }
  EXPECT_EQ(machine->frames().size(), 100U);
  EXPECT_EQ(machine->frames().free_frames(), 99U);
  three.refuses = false;
  EXPECT_TRUE(machine->grow(1000));
  EXPECT_EQ(three.frames, 1000U);
}

TEST(Machine, has_room_for_all_that_its_domains_may_have) {
  const auto machine = Machine::create(1, 10'000).value();
  ASSERT_TRUE(machine->make_room_for(1000));
  EXPECT_EQ(machine->frames().size(), 1024U);
  Follower one(*machine);
  one.frames = one.room = 1024;
  one.most = 1000;
  // It has given nearly everything back. It can get it again, whoever comes meanwhile.
  one.free_then = machine->frames().free_frames();
  ASSERT_TRUE(machine->make_room_for(500));
  EXPECT_EQ(machine->frames().size(), 1536U);
  // Frames that the next one needs and that nobody will give back.
  ASSERT_TRUE(machine->frames().take(DomId(7), 1400));
  one.free_then = machine->frames().free_frames();
  ASSERT_TRUE(machine->make_room_for(500));
  EXPECT_EQ(machine->frames().size(), 2048U);
  EXPECT_GE(machine->frames().free_frames(), 500U);
}

TEST(Machine, grows_to_its_limit_and_says_what_that_is) {
  const auto machine = Machine::create(512, 1024).value();
  const auto refused = machine->grow(1025);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(), "the machine has 2 MiB and can grow to 4 MiB, not to 5 MiB");
  EXPECT_TRUE(machine->grow(1024));
  EXPECT_TRUE(machine->grow(100)) << "it has these";
  EXPECT_EQ(machine->frames().size(), 1024U);
  EXPECT_FALSE(Machine::create(1, pvmmu::first_monitor_frame.raw() + 1));
}

}  // namespace
}  // namespace pinfold::vmm
