// Domains that grant frames to each other, map, write, copy, revoke, make tables of them, and die. What must
// hold: who has a frame mapped reaches it, who has unmapped it does not; a table is written by nobody; and
// after all have ended every frame is the machine's again.
#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <functional>
#include <future>
#include <random>

#include "devices/grant_table.hpp"
#include "fakes.hpp"
#include "rig.hpp"
#include "vmm/memory/frame_holds.hpp"
#include "vmm/memory/granted_frames.hpp"

namespace pinfold::devices {
namespace {

using pvmmu::DomainLock;
using pvmmu::Held;
using pvmmu::Level;
using pvmmu::Pte;
using pvmmu::concurrency::SharedDomain;
using pvmmu::concurrency::together;
namespace test = pvmmu::test;

constexpr int lives = 6, calls_a_life = 300;
constexpr std::uint32_t first_ref = 8, refs = 4;
constexpr std::size_t slots_a_vcpu = 4;
/// What guests write is apart from what is copied, and each copies to a place of its own: the host's memmove
/// may see a store in the middle, which is the guests' affair.
constexpr std::size_t written_slot = 32;

/// One life of a domain, with its grant table and two vCPUs.
class Living final : public vmm::SharedFrameSource {
 public:
  /// It can map the grants of `maptrack` frames of handles.
  Living(test::FakeMachine& machine, const std::shared_ptr<GrantNeighbours>& all, DomId id,
         std::uint32_t maptrack = 4)
      : id_(id), machine_(machine), domain_(machine, id) {
    table_ = std::make_unique<GrantTable>(
        id, *this, granted_, GrantTable::Limits{.table = 1, .maptrack = maptrack},
        GrantTable::Machine{
            all,
            std::make_unique<vmm::DomainFrameHolder>(domain_.mutex, holds_, vmm::FrameHolds::For::neighbour),
            std::make_unique<vmm::DomainFrameReceiver>(domain_.mutex, domain_.mmu)});
    domain_.call([&](Held held, pvmmu::Validator& v) {
      l4_ = v.allocate(held, 4).value();
      for (std::uint64_t i = 0; i < 3; ++i) machine.poke(l4_.plus(i), 0, Pte(l4_.plus(i + 1), test::table));
      ASSERT_TRUE(v.pin(held, Level::l4, l4_));
      for (auto& frame : frames_) frame = v.allocate(held).value();
      ASSERT_TRUE(table_->entries().grow(held, 1));
    });
    BootRings rings;
    table_->attach(hypercalls_, rings);
  }

  /// What one vCPU does until its end; `other`: whom it has to do with.
  void run(unsigned vcpu, unsigned seed, const std::atomic<std::uint16_t>& other) {
    std::mt19937 random(seed);
    FakeMemory memory;
    for (int i = 0; i < calls_a_life; ++i) switch (random() % 9) {
        case 0:
        case 1: grant(random, other); break;
        case 2: pin(random); break;
        case 3: give_back(random); break;
        case 8: transfer(memory, random, DomId(other)); break;
        case 4: copy(memory, random, vcpu, DomId(other)); break;
        default: map_write_unmap(memory, random, vcpu, DomId(other));
      }
  }

  /// Grants its first frame by `ref`, to be written.
  void grant_first(std::uint32_t ref, DomId to) {
    auto page = table_->entries().frames().front().page;
    page.store(ref * 8 + 4, static_cast<std::uint32_t>(frames_[0].load().raw()));
    page.store(ref * 8, std::uint32_t{GTF_permit_access} | std::uint32_t{to.raw()} << 16);
  }
  [[nodiscard]] bool is_in_use(std::uint32_t ref) const {
    return table_->entries().frames().front().page.load<std::uint16_t>(ref * 8) != GTF_permit_access;
  }
  /// Is that grant not in use, and no frame held for a neighbour?
  [[nodiscard]] bool lends_nothing(std::uint32_t ref) {
    return !is_in_use(ref) && domain_.call([&](Held held, pvmmu::Validator&) {
      holds_.settle(held);
      return holds_.frames(vmm::FrameHolds::For::neighbour).empty();
    });
  }
  /// With this domain's lock.
  void with_lock(const std::function<void()>& what) {
    const DomainLock held(domain_.mutex);
    what();
  }
  /// Maps what the other grants, for the host at this slot of its L1, and for devices.
  gnttab_map_grant_ref map(std::uint32_t ref, DomId other, std::size_t slot) {
    FakeMemory memory;
    gnttab_map_grant_ref args{};
    args.host_addr = test::entry_at(l4_.plus(3), slot).raw();
    args.flags = GNTMAP_host_map | GNTMAP_device_map | GNTMAP_contains_pte;
    args.ref = ref;
    args.dom = other.raw();
    call(memory, GNTTABOP_map_grant_ref, args);
    EXPECT_EQ(args.status, GNTST_okay);
    return args;
  }
  /// For devices alone, which makes no entry.
  std::int16_t map_for_devices(std::uint32_t ref, DomId other) {
    FakeMemory memory;
    gnttab_map_grant_ref args{};
    args.flags = GNTMAP_device_map;
    args.ref = ref;
    args.dom = other.raw();
    call(memory, GNTTABOP_map_grant_ref, args);
    return args.status;
  }
  /// Both parts of it, by any vCPU.
  std::int16_t unmap(const gnttab_map_grant_ref& mapped) {
    FakeMemory memory;
    gnttab_unmap_grant_ref args{mapped.host_addr, mapped.dev_bus_addr, mapped.handle, 99};
    call(memory, GNTTABOP_unmap_grant_ref, args);
    return args.status;
  }

  void end() {
    table_->detach();
    table_.reset();
    const DomainLock lock(domain_.mutex);
    holds_.settle(lock);
    pvmmu::OutsideReferences outside;
    for (const Mfn mfn : holds_.frames()) outside.add(mfn);
    for (const Mfn mfn : holds_.frames(vmm::FrameUse::read)) outside.add_readable(mfn);
    EXPECT_EQ(audit(lock, domain_.mmu, outside), std::vector<std::string>{});
    EXPECT_EQ(domain_.mmu.breach(), nullptr);
    const std::uint64_t left = domain_.mmu.destroy(lock);
    EXPECT_EQ(holds_.leave_to_neighbours(lock, machine_.frames), left);
    granted_.end();
  }

 private:
  [[nodiscard]] tl::expected<vmm::SharedFrame, Errno> allocate(Held held) override {
    const auto mfn = domain_.mmu.allocate_special(held);
    if (!mfn) return fail(Errno::enomem);
    auto page = holds_.hold(held, *mfn);
    return vmm::SharedFrame{*mfn, std::move(*page)};
  }
  template <class Args>
  void call(FakeMemory& memory, std::uint32_t op, Args& args) {
    DomainLock lock(domain_.mutex);
    holds_.settle(lock);
    domain_.mmu.set_budget(lock, pvmmu::Budget(10'000));
    ASSERT_TRUE(memory.store(GuestVaddr(FakeMemory::base), args));
    vmm::Hypercall hypercall{VcpuId(0), 20, {op, FakeMemory::base, 1}, memory, &lock};
    EXPECT_EQ(table_->grant_table_op(hypercall), 0);
    args = *memory.fetch<Args>(GuestVaddr(FakeMemory::base));
  }
  /// As the guest does it, at any time.
  void grant(std::mt19937& random, std::uint16_t to) {
    constexpr std::array<std::uint32_t, 4> flags{GTF_permit_access, GTF_permit_access | GTF_readonly,
                                                 GTF_permit_access, 0};
    const std::uint32_t ref = first_ref + random() % refs;
    auto page = table_->entries().frames().front().page;
    page.store(ref * 8 + 4, static_cast<std::uint32_t>(frames_[random() % frames_.size()].load().raw()));
    page.store(ref * 8, flags[random() % flags.size()] | std::uint32_t{to} << 16);
  }
  void transfer(FakeMemory& memory, std::mt19937& random, DomId other) {
    if (machine_.frames.free_frames() < 256) return;  // the next lives need some
    auto page = table_->entries().frames().front().page;
    const std::uint32_t ref = first_ref + refs + random() % refs;
    page.store(ref * 8, std::uint32_t{GTF_accept_transfer} | std::uint32_t{other.raw()} << 16);
    auto& frame = frames_[random() % frames_.size()];
    gnttab_transfer args{frame.load().raw(), other.raw(),
                         first_ref + refs + static_cast<std::uint32_t>(random() % refs), 99};
    call(memory, GNTTABOP_transfer, args);
    EXPECT_NE(args.status, 99);
    if (args.status == GNTST_bad_page) return;
    const auto next = domain_.call([&](Held held, pvmmu::Validator& v) { return v.allocate(held); });
    if (next) frame = *next;
  }
  void pin(std::mt19937& random) {
    const Mfn frame = frames_[random() % frames_.size()];
    const bool pinned = domain_.call([&](Held held, pvmmu::Validator& v) {
      holds_.settle(held);
      return v.owns(frame) && v.pin(held, Level::l1, frame).has_value();
    });
    if (!pinned) return;
    for (int i = 0; i < 3; ++i) {
      const std::uint64_t found = machine_.memory.pages().load(frame.raw(), written_slot);
      std::this_thread::yield();
      EXPECT_EQ(machine_.memory.pages().load(frame.raw(), written_slot), found) << "somebody writes a table";
    }
    domain_.call([&](Held held, pvmmu::Validator& v) { EXPECT_TRUE(v.unpin(held, frame)); });
  }
  void give_back(std::mt19937& random) {
    auto& frame = frames_[random() % frames_.size()];
    domain_.call([&](Held held, pvmmu::Validator& v) {
      holds_.settle(held);
      if (!v.deallocate(held, frame)) return;
      if (const auto fresh = v.allocate(held)) frame = *fresh;
    });
  }
  void copy(FakeMemory& memory, std::mt19937& random, unsigned vcpu, DomId other) {
    gnttab_copy args{};
    args.source.u.ref = args.dest.u.ref = first_ref + random() % refs;
    args.source.domid = args.dest.domid = other.raw();
    args.flags = GNTCOPY_source_gref | GNTCOPY_dest_gref;
    args.source.offset = 64;
    args.dest.offset = static_cast<std::uint16_t>(1024 + 64 * (id_.raw() % 2 * 2 + vcpu));
    args.len = 64;
    call(memory, GNTTABOP_copy, args);
  }
  void map_write_unmap(FakeMemory& memory, std::mt19937& random, unsigned vcpu, DomId other) {
    const bool reads = random() % 3 == 0;
    gnttab_map_grant_ref args{};
    const std::size_t slot = 8 + vcpu * slots_a_vcpu + random() % slots_a_vcpu;
    args.host_addr = test::entry_at(l4_.plus(3), slot).raw();
    args.flags = GNTMAP_host_map | GNTMAP_contains_pte | (reads ? GNTMAP_readonly : 0U);
    args.ref = first_ref + random() % refs;
    args.dom = other.raw();
    call(memory, GNTTABOP_map_grant_ref, args);
    if (args.status != GNTST_okay) return;
    const Mfn frame = frame_of(MachineAddr(args.dev_bus_addr));
    if (!reads) {
      EXPECT_TRUE(domain_.view.guest_store(frame, written_slot, random() * 2ULL)) << "it is mapped";
    }
    if (random() % 16 == 0) return;  // it stays mapped to the end
    gnttab_unmap_grant_ref unmap{args.host_addr, 0, args.handle, 99};
    call(memory, GNTTABOP_unmap_grant_ref, unmap);
    EXPECT_EQ(unmap.status, GNTST_okay);
  }

  DomId id_;
  test::FakeMachine& machine_;
  SharedDomain domain_;
  vmm::FrameHolds holds_{domain_.mmu, [](Mfn, pvmmu::FrameType) { ADD_FAILURE() << "of a held frame"; }};
  vmm::GrantedFrames granted_{
      vmm::GrantedFrames::Parts{domain_.mmu, holds_, [this](VcpuId) { return l4_; }, [](VcpuId) {}}};
  vmm::HypercallTable hypercalls_;
  std::unique_ptr<GrantTable> table_;
  Mfn l4_ = no_mfn;
  std::array<std::atomic<Mfn>, 4> frames_{};  ///< Of both vCPUs.
};

TEST(GrantNeighbours, map_copy_revoke_and_die_at_each_other) {
  test::FakeMachine machine(512);
  const std::uint64_t free = machine.frames.free_frames();
  {
    const auto all = std::make_shared<GrantNeighbours>();
    std::array<std::atomic<std::uint16_t>, 2> ids{1, 2};
    const auto live = [&](std::uint16_t k) {
      for (int life = 0; life < lives; ++life) {
        const auto id = static_cast<std::uint16_t>(1 + k + 2 * life);
        Living domain(machine, all, DomId(id));
        ids[k] = id;
        const std::atomic<std::uint16_t>& other = ids[1 - k];
        const auto seed = static_cast<unsigned>(100 * id);
        together({[&] { domain.run(0, seed, other); }, [&] { domain.run(1, seed + 1, other); }});
        domain.end();
      }
    };
    together({[&] { live(0); }, [&] { live(1); }});
  }
  EXPECT_EQ(machine.frames.free_frames(), free);
}

/// XSA-218. A handle that ended twice would be given twice.
TEST(GrantNeighbours, of_two_unmaps_of_a_handle_at_once_one_succeeds) {
  test::FakeMachine machine(512);
  const std::uint64_t free = machine.frames.free_frames();
  const auto all = std::make_shared<GrantNeighbours>();
  Living owner(machine, all, DomId(1)), user(machine, all, DomId(2));
  std::array<gnttab_map_grant_ref, 2> mapped{};
  std::array<std::array<std::int16_t, 2>, 2> status{};
  std::barrier turn(2);
  const auto vcpu = [&](std::size_t me) {
    for (int round = 0; round < 300; ++round) {
      if (me == 0) {
        owner.grant_first(first_ref, DomId(2));
        for (std::size_t i = 0; i < 2; ++i) mapped[i] = user.map(first_ref, DomId(1), 8 + i);
        EXPECT_NE(mapped[0].handle, mapped[1].handle);
      }
      turn.arrive_and_wait();
      for (std::size_t i = 0; i < 2; ++i) status[me][i] = user.unmap(mapped[i]);
      turn.arrive_and_wait();
      if (me != 0) continue;
      for (std::size_t i = 0; i < 2; ++i) {
        const std::array both{status[0][i], status[1][i]};
        EXPECT_EQ(std::ranges::count(both, GNTST_okay), 1);
        EXPECT_EQ(std::ranges::count(both, GNTST_bad_handle), 1);
      }
      EXPECT_TRUE(owner.lends_nothing(first_ref));
    }
  };
  together({[&] { vcpu(0); }, [&] { vcpu(1); }});
  user.end();
  owner.end();
  EXPECT_EQ(machine.frames.free_frames(), free);
}

/// XSA-380. The one that ends does not wait for its neighbour's lock, and its neighbour needs nothing of it
/// to get the frames back.
TEST(GrantNeighbours, that_end_with_thousands_of_mappings_wait_for_no_lock_and_leave_nothing) {
  constexpr std::uint32_t frames = 16, mappings = frames * Maptrack::per_frame;
  test::FakeMachine machine(512);
  const std::uint64_t free = machine.frames.free_frames();
  const auto all = std::make_shared<GrantNeighbours>();
  Living owner(machine, all, DomId(1)), user(machine, all, DomId(2), frames);
  owner.grant_first(first_ref, DomId(2));
  for (std::uint32_t i = 0; i < mappings; ++i)
    ASSERT_EQ(user.map_for_devices(first_ref, DomId(1)), GNTST_okay);
  EXPECT_EQ(user.map_for_devices(first_ref, DomId(1)), GNTST_no_space);
  std::future<void> ends;
  owner.with_lock([&] {
    ends = std::async(std::launch::async, [&] { user.end(); });
    EXPECT_EQ(ends.wait_for(std::chrono::seconds(60)), std::future_status::ready);
    EXPECT_FALSE(owner.is_in_use(first_ref));
  });
  ends.get();
  EXPECT_TRUE(owner.lends_nothing(first_ref));
  owner.end();
  EXPECT_EQ(machine.frames.free_frames(), free);
}

}  // namespace
}  // namespace pinfold::devices
