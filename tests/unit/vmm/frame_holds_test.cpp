// Frames that are shared with a device: what a hold keeps the guest from, how long, and the second look.
#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "fake_machine.hpp"
#include "vmm/memory/frame_holds.hpp"

namespace pinfold::vmm::test {
namespace {

using namespace pvmmu;
using namespace pvmmu::test;

struct Scene {
  SharedPage hold(Mfn wanted) {
    auto page = holds.hold(one.held, wanted);
    EXPECT_TRUE(page);
    return page ? std::move(*page) : SharedPage();
  }
  void settle() { holds.settle(one.held); }
  /// What the audit finds, with the holds as the outside references.
  std::vector<std::string> findings() {
    OutsideReferences outside;
    for (const Mfn mfn : holds.frames()) outside.add(mfn);
    return audit(one.held, one.mmu, outside);
  }

  FakeMachine machine{64};
  FakeDomain one{machine, DomId(1)};
  FakeDomain two{machine, DomId(2)};
  Mfn frame = one.allocate();
  std::vector<FrameType> wrong;
  FrameHolds holds{one.mmu, [this](Mfn mfn, FrameType type) {
                     EXPECT_EQ(mfn, frame);
                     wrong.push_back(type);
                   }};
};

constexpr std::array protected_types{FrameType::l1, FrameType::l2, FrameType::l3, FrameType::l4,
                                     FrameType::seg_desc};

TEST(FrameHolds, a_held_frame_becomes_no_table_and_no_descriptor_page) {
  Scene s;
  const SharedPage page = s.hold(s.frame);
  for (const FrameType type : protected_types) {
    const auto taken = s.one.mmu.hold(s.one.held, s.frame, type);
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().rule, Rule::frame_wrong_type);
  }
  for (const Level level : {Level::l1, Level::l2, Level::l3, Level::l4})
    EXPECT_FALSE(s.one.mmu.pin(s.one.held, level, s.frame));
  EXPECT_EQ(s.one.mmu.frame(s.frame).type, FrameType::writable);
  EXPECT_EQ(s.findings(), std::vector<std::string>{});
}

TEST(FrameHolds, a_table_or_another_domains_frame_can_t_be_held) {
  Scene s;
  for (const FrameType type : protected_types) {
    ASSERT_TRUE(s.one.mmu.hold(s.one.held, s.frame, type));
    EXPECT_FALSE(s.holds.hold(s.one.held, s.frame));
    s.one.mmu.release(s.one.held, s.frame);
  }
  for (const Mfn other : {s.two.allocate(), Mfn(0), Mfn(64), Mfn(1ULL << 40), no_mfn}) {
    const auto refused = s.holds.hold(s.one.held, other);
    EXPECT_FALSE(refused) << other.raw();
  }
  EXPECT_TRUE(s.holds.frames().empty());
  EXPECT_EQ(s.findings(), std::vector<std::string>{});
}

TEST(FrameHolds, the_last_copy_ends_a_hold_and_settling_releases_the_frame) {
  Scene s;
  SharedPage page = s.hold(s.frame);
  {
    const SharedPage copy = page;  // NOLINT(performance-unnecessary-copy-initialization)
    page = SharedPage();
    s.settle();
    EXPECT_EQ(s.holds.frames().size(), 1U);
    EXPECT_FALSE(s.one.mmu.pin(s.one.held, Level::l1, s.frame));
  }
  EXPECT_EQ(s.holds.frames().size(), 1U) << "it counts until it is settled";
  EXPECT_EQ(s.findings(), std::vector<std::string>{});
  s.settle();
  EXPECT_TRUE(s.holds.frames().empty());
  EXPECT_TRUE(s.one.mmu.pin(s.one.held, Level::l1, s.frame));
  EXPECT_EQ(s.findings(), std::vector<std::string>{});
}

TEST(FrameHolds, a_frame_held_twice_is_released_twice) {
  Scene s;
  SharedPage first = s.hold(s.frame), second = s.hold(s.frame);
  EXPECT_EQ(s.one.mmu.frame(s.frame).type_count, 2U);
  first = SharedPage();
  s.settle();
  EXPECT_FALSE(s.one.mmu.pin(s.one.held, Level::l1, s.frame));
  second = SharedPage();
  s.settle();
  EXPECT_EQ(s.one.mmu.frame(s.frame).type_count, 0U);
}

TEST(FrameHolds, holds_end_in_any_order) {
  Scene s;
  std::vector<Mfn> frames{s.frame};
  while (frames.size() < 5) frames.push_back(s.one.allocate());
  for (const std::size_t first : {0U, 2U, 4U}) {
    std::vector<SharedPage> pages;
    for (const Mfn frame : frames) pages.push_back(s.hold(frame));
    for (std::size_t i = 0; i < frames.size(); ++i) {
      pages[(first + 2 * i) % frames.size()] = SharedPage();
      EXPECT_EQ(s.findings(), std::vector<std::string>{});
      EXPECT_EQ(s.holds.frames().size(), frames.size() - i)
          << "the one that ended counts until it is settled";
      s.settle();
      EXPECT_EQ(s.holds.frames().size(), frames.size() - i - 1);
      EXPECT_EQ(s.findings(), std::vector<std::string>{});
    }
  }
}

TEST(FrameHolds, any_number_of_holds_that_have_ended_are_settled_at_once) {
  Scene s;
  {
    std::vector<SharedPage> pages;
    for (int i = 0; i < 100; ++i) pages.push_back(s.hold(s.frame));
  }
  EXPECT_EQ(s.holds.frames().size(), 100U);
  s.settle();
  EXPECT_TRUE(s.holds.frames().empty());
  EXPECT_EQ(s.one.mmu.frame(s.frame).type_count, 0U);
}

TEST(FrameHolds, a_frame_that_is_given_back_stays_the_domains_until_its_hold_ends) {
  Scene s;
  SharedPage page = s.hold(s.frame);
  ASSERT_TRUE(s.one.mmu.deallocate(s.one.held, s.frame));
  EXPECT_TRUE(s.one.mmu.owns(s.frame));
  EXPECT_FALSE(s.one.mmu.pin(s.one.held, Level::l1, s.frame));
  page.store(8, 7U);
  EXPECT_EQ(page.load<std::uint32_t>(8), 7U);
  EXPECT_EQ(s.findings(), std::vector<std::string>{});
  page = SharedPage();
  s.settle();
  EXPECT_FALSE(s.one.mmu.owns(s.frame));
  EXPECT_TRUE(s.wrong.empty());
}

TEST(FrameHolds, a_held_frame_can_t_be_exchanged) {
  Scene s;
  EXPECT_TRUE(s.one.mmu.check_exchangeable(s.one.held, s.frame));
  const SharedPage page = s.hold(s.frame);
  EXPECT_FALSE(s.one.mmu.check_exchangeable(s.one.held, s.frame));
}

TEST(FrameHolds, the_monitors_own_pages_are_held_as_well) {
  Scene s;
  const Mfn special = s.one.mmu.allocate_special(s.one.held).value();
  SharedPage page = s.hold(special);
  page.store(0, 5U);
  EXPECT_EQ(page.load<std::uint32_t>(0), 5U);
  EXPECT_EQ(s.findings(), std::vector<std::string>{});
}

TEST(FrameHolds, another_thread_may_let_go) {
  Scene s;
  SharedPage page = s.hold(s.frame);
  std::thread([mine = std::exchange(page, SharedPage())]() mutable {
    mine.store(0, 1U);
    mine = SharedPage();
  }).join();
  s.settle();
  EXPECT_TRUE(s.holds.frames().empty());
}

TEST(FrameHolds, pages_may_outlive_the_holds) {
  SharedPage page;
  {
    Scene s;
    page = s.hold(s.frame);
  }
  page = SharedPage();
}

/// An error of the validator: a held frame's type has changed.
TEST(FrameHolds, what_is_not_writable_any_more_is_not_written) {
  Scene s;
  SharedPage page = s.hold(s.frame);
  page.store(0, std::uint64_t{0x11});
  for (const FrameType type : {FrameType::l1, FrameType::l4, FrameType::seg_desc, FrameType::none}) {
    s.one.records().facts(s.frame).type = type;
    s.wrong.clear();
    page.store(0, std::uint64_t{0x22});
    EXPECT_EQ(page.exchange(0, std::uint64_t{0x22}), 0x11U);
    EXPECT_EQ(page.fetch_or(0, std::uint64_t{0x22}), 0x11U);
    EXPECT_EQ(page.fetch_and(0, std::uint64_t{0}), 0x11U);
    std::uint64_t expected = 0x11;
    EXPECT_TRUE(page.compare_exchange(0, expected, std::uint64_t{0x22}));
    expected = 0x12;
    EXPECT_FALSE(page.compare_exchange(0, expected, std::uint64_t{0x22}));
    EXPECT_EQ(expected, 0x11U);
    page.copy_in(0, std::array{std::byte{0x22}});
    EXPECT_EQ(page.load<std::uint64_t>(0), 0x11U);
    EXPECT_EQ(s.wrong, std::vector<FrameType>(7, type));
  }
  s.one.records().facts(s.frame).type = FrameType::writable;
}

// -- by a thread of its own, outside of hypercalls

/// As Domain::frame_holder gives it.
struct Outside : Scene {
  pvmmu::DomainMutex mutex;  // another one than FakeDomain's: here nobody else uses that
  DomainFrameHolder device{mutex, holds};
};

TEST(FrameHolds, a_devices_thread_holds_and_releases_while_no_hypercall_runs) {
  Outside s;
  std::thread([&] {
    auto page = s.device.hold(s.frame, FrameUse::write);
    ASSERT_TRUE(page);
    page->store(0, 7U);
    EXPECT_EQ(type_as_of_now(s.one.mmu.facts(s.frame)), FrameType::writable);
    EXPECT_EQ(s.holds.frames(), std::vector{s.frame});
    page = SharedPage();
    s.device.settle();
  }).join();
  EXPECT_TRUE(s.holds.frames().empty());
  EXPECT_EQ(s.one.mmu.frame(s.frame).type_count, 0U);
}

// While the guest's vCPUs sleep, no hypercall settles.
TEST(FrameHolds, what_a_devices_thread_dropped_does_not_pile_up) {
  Outside s;
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(s.device.hold(s.frame, FrameUse::write));
  EXPECT_EQ(s.holds.frames().size(), 1U);
}

TEST(FrameHolds, an_audit_knows_what_a_devices_thread_holds) {
  Outside s;
  auto page = s.device.hold(s.frame, FrameUse::write);
  ASSERT_TRUE(page);
  EXPECT_EQ(s.findings(), std::vector<std::string>{});
  page = SharedPage();
  EXPECT_EQ(s.findings(), std::vector<std::string>{}) << "dropped, and not settled";
  s.device.settle();
  EXPECT_EQ(s.findings(), std::vector<std::string>{});
}

TEST(FrameHolds, what_a_devices_thread_may_not_hold_is_refused) {
  Outside s;
  ASSERT_TRUE(s.one.mmu.hold(s.one.held, s.frame, FrameType::l1));
  EXPECT_FALSE(s.device.hold(s.frame, FrameUse::write));
  EXPECT_FALSE(s.device.hold(s.two.allocate(), FrameUse::write));
  EXPECT_FALSE(s.device.hold(no_mfn, FrameUse::write));
  EXPECT_TRUE(s.holds.frames().empty());
}

TEST(FrameHolds, a_devices_thread_frees_what_the_guest_gave_back) {
  Outside s;
  auto page = s.device.hold(s.frame, FrameUse::write);
  ASSERT_TRUE(page);
  ASSERT_TRUE(s.one.mmu.deallocate(s.one.held, s.frame));
  page = SharedPage();
  s.device.settle();
  EXPECT_FALSE(s.one.mmu.owns(s.frame)) << "that takes the lock alone";
  EXPECT_TRUE(s.holds.frames().empty());
}

TEST(FrameHolds, what_a_share_can_t_release_is_released_with_the_lock_alone) {
  Outside s;
  auto page = s.device.hold(s.frame, FrameUse::write);
  ASSERT_TRUE(s.one.mmu.deallocate(s.one.held, s.frame));
  page = SharedPage();
  {
    DomainSharer sharer(s.mutex);
    const DomainShare share(sharer);
    EXPECT_FALSE(s.holds.try_settle(share));
    EXPECT_FALSE(s.holds.try_settle(share)) << "it is still to be done";
  }
  EXPECT_EQ(s.holds.frames(), std::vector{s.frame});
  s.settle();
  EXPECT_FALSE(s.one.mmu.owns(s.frame));
}

TEST(FrameHolds, a_devices_thread_settles_what_others_dropped) {
  Outside s;
  SharedPage page = s.hold(s.frame);
  page = SharedPage();
  s.device.settle();
  EXPECT_TRUE(s.holds.frames().empty());
}

// -- for another domain, which may hold a frame longer than its owner lives

using For = FrameHolds::For;

/// A frame that domain two holds twice, by a grant of domain one's.
struct Granted : Scene {
  SharedPage hold_for_two() { return holds.hold(one.held, frame, For::neighbour).value(); }
  /// As Domain::tear_down does it.
  void end_one() {
    (void)one.mmu.set_machphys(one.held, frame, Pfn(3));
    settle();
    destroyed = one.mmu.destroy(one.held);
    left = holds.leave_to_neighbours(one.held, machine.frames);
  }
  [[nodiscard]] std::uint64_t free() const { return machine.frames.free_frames(); }
  std::uint64_t destroyed = 0, left = 0;
};

TEST(FrameHolds, an_audit_knows_neighbours_holds_and_tells_them_from_the_monitors) {
  Granted s;
  const SharedPage theirs = s.hold_for_two(), mine = s.hold(s.frame);
  EXPECT_EQ(s.findings(), std::vector<std::string>{});
  EXPECT_EQ(s.holds.frames(For::neighbour), std::vector{s.frame});
  EXPECT_EQ(s.holds.frames(For::monitor), std::vector{s.frame});
  EXPECT_EQ(s.holds.frames().size(), 2U);
}

TEST(FrameHolds, a_frame_that_a_neighbour_holds_is_nobodys_until_the_last_hold_ends) {
  Granted s;
  SharedPage first = s.hold_for_two(), second = s.hold_for_two();
  second.store(0, std::uint64_t{0x5ec4e7});
  s.end_one();
  EXPECT_EQ(s.destroyed, 1U);
  EXPECT_EQ(s.left, 1U);
  const std::uint64_t free = s.free();
  first = SharedPage();
  EXPECT_EQ(s.free(), free);
  EXPECT_EQ(second.load<std::uint64_t>(0), 0x5ec4e7U);
  second.store(8, std::uint64_t{1});
  EXPECT_TRUE(s.wrong.empty());
  second = SharedPage();
  EXPECT_EQ(s.free(), free + 1);
}

TEST(FrameHolds, a_frame_that_a_dead_domain_left_is_clear_when_the_next_one_gets_it) {
  Granted s;
  SharedPage theirs = s.hold_for_two();
  theirs.store(0, std::uint64_t{0x5ec4e7});
  s.end_one();
  theirs = SharedPage();
  FakeDomain next(s.machine, DomId(3));
  bool came = false;
  while (const auto got = next.mmu.allocate(next.held)) {
    came = came || *got == s.frame;
    EXPECT_EQ(s.machine.peek(*got, 0).raw(), 0U);
  }
  EXPECT_TRUE(came);
}

TEST(FrameHolds, what_a_neighbour_dropped_while_the_domain_ended_is_the_machines) {
  Granted s;
  SharedPage theirs = s.hold_for_two();
  s.settle();
  s.destroyed = s.one.mmu.destroy(s.one.held);
  theirs = SharedPage();
  const std::uint64_t free = s.free();
  EXPECT_EQ(s.holds.leave_to_neighbours(s.one.held, s.machine.frames), 1U);
  EXPECT_EQ(s.free(), free + 1);
}

/// The monitor has none then; that it did would be an error of its own, which gives away no frame.
TEST(FrameHolds, a_monitors_hold_that_ends_late_leaves_a_neighbours_frame_alone) {
  Granted s;
  const SharedPage theirs = s.hold_for_two();
  SharedPage early = s.hold(s.frame), late = s.hold(s.frame);
  s.destroyed = s.one.mmu.destroy(s.one.held);
  const std::uint64_t free = s.free();
  early = SharedPage();
  EXPECT_EQ(s.holds.leave_to_neighbours(s.one.held, s.machine.frames), 1U);
  late = SharedPage();
  EXPECT_EQ(s.free(), free);
}

TEST(FrameHolds, a_neighbours_hold_that_ends_before_the_domain_leaves_nothing) {
  Granted s;
  SharedPage theirs = s.hold_for_two();
  theirs = SharedPage();
  s.end_one();
  EXPECT_EQ(s.destroyed, 0U);
  EXPECT_EQ(s.left, 0U);
}

}  // namespace
}  // namespace pinfold::vmm::test
