// Devices' threads that hold, write and release guest frames while vCPUs change page tables and give frames
// back. What must hold: each count is right, and so is the list of what is held, at any moment at which
// somebody has the lock alone.
#include "vmm/memory/frame_holds.hpp"

#include <gtest/gtest.h>

#include <random>

#include "rig.hpp"

namespace pinfold::pvmmu::concurrency {
namespace {

using test::entry_at;
using test::rw;

constexpr int rounds = 2000;

struct Holding : testing::Test {
  Holding() {
    table = domain.allocate();
    domain.call([&](Held held, Validator& v) { EXPECT_TRUE(v.pin(held, Level::l1, table)); });
    for (Mfn& frame : frames) frame = domain.allocate();
  }
  /// A device: some requests under way at a time, each with a frame that it writes.
  void device(unsigned seed) {
    std::mt19937 random(seed);
    vmm::DomainFrameHolder holder(domain.mutex, holds);
    std::array<vmm::SharedPage, 4> under_way;
    for (int i = 0; i < rounds; ++i) {
      vmm::SharedPage& request = under_way[random() % under_way.size()];
      if (auto page = holder.hold(frames[random() % frames.size()], vmm::FrameUse::write)) {
        page->store(8 * (seed % 512), std::uint64_t(random()));
        request = std::move(*page);
      }
      if (i % 8 == 0) holder.settle();
    }
    under_way.fill(vmm::SharedPage());
    holder.settle();
  }
  /// A vCPU that shares the lock: entries that name the same frames.
  void vcpu(unsigned seed) {
    std::mt19937 random(seed);
    DomainSharer sharer(domain.mutex);
    MmuCounters counters;
    for (int i = 0; i < rounds; ++i) {
      const Pte want = random() % 3 == 0 ? Pte() : Pte(frames[random() % frames.size()], rw);
      const std::array wanted{EntryUpdate{entry_at(table, random() % 8), want}};
      const DomainShare share(sharer);
      (void)domain.mmu.update_concurrently(share, counters, wanted);
    }
    domain.call([&](Held held, Validator& v) { v.count(held, counters); });
  }
  [[nodiscard]] std::vector<std::string> findings() {
    return domain.call([&](Held held, Validator& v) {
      OutsideReferences outside;
      for (const Mfn mfn : holds.frames()) outside.add(mfn);
      return audit(held, v, outside);
    });
  }

  test::FakeMachine machine{256};
  SharedDomain domain{machine, DomId(1)};
  Mfn table;
  std::array<Mfn, 6> frames;
  vmm::FrameHolds holds{domain.mmu, [](Mfn, FrameType) { ADD_FAILURE() << "a held frame changed its type"; }};
};

TEST_F(Holding, devices_hold_and_release_while_vcpus_update) {
  std::atomic<int> running{4};
  const auto counted = [&](auto work) {
    return [&running, work] {
      work();
      --running;
    };
  };
  together({counted([&] { device(1); }), counted([&] { device(2); }), counted([&] { vcpu(3); }),
            counted([&] { vcpu(4); }), [&] {
              while (running != 0) ASSERT_EQ(findings(), std::vector<std::string>{});
            }});
  EXPECT_TRUE(holds.frames().empty());
  EXPECT_EQ(findings(), std::vector<std::string>{});
}

TEST_F(Holding, a_guest_that_gives_frames_back_under_a_devices_holds_gets_them_back_once) {
  const auto guest = [&] {
    std::mt19937 random(5);
    for (int i = 0; i < rounds / 4; ++i)
      domain.call([&](Held held, Validator& v) {
        holds.settle(held);  // as at each hypercall
        const Mfn frame = frames[random() % frames.size()];
        if (v.owns(frame) && v.frame(frame).allocated) (void)v.deallocate(held, frame);
      });
  };
  together({[&] { device(6); }, [&] { device(7); }, guest});
  EXPECT_TRUE(holds.frames().empty());
  EXPECT_EQ(findings(), std::vector<std::string>{});
}

}  // namespace
}  // namespace pinfold::pvmmu::concurrency
