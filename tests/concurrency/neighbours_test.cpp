// Domains that hold each other's frames, and die while others visit them. What must hold: whoever has a page
// sees what its owner wrote there, dead or alive, and every frame comes back to the machine.
#include "vmm/for_devices/neighbours.hpp"

#include <gtest/gtest.h>

#include <random>

#include "rig.hpp"
#include "vmm/memory/frame_holds.hpp"

namespace pinfold::pvmmu::concurrency {
namespace {

using vmm::FrameHolds;
using vmm::SharedPage;

/// What a domain lets others have: its frames, each of which has the domain's number in its first word.
struct Owner {
  Owner(test::FakeMachine& on, DomId domain) : machine(on), id(domain), shared(on, domain) {
    for (Mfn& frame : frames) {
      frame = shared.allocate();
      machine.poke(frame, 0, Pte(domain.raw()));
    }
  }
  std::optional<SharedPage> hold(std::size_t n) {
    const DomainLock lock(shared.mutex);
    auto page = holds.hold(lock, frames[n % frames.size()], FrameHolds::For::neighbour);
    if (!page) return std::nullopt;
    return std::move(*page);
  }
  void end() {
    const DomainLock lock(shared.mutex);
    holds.settle(lock);
    const std::uint64_t destroyed = shared.mmu.destroy(lock);
    EXPECT_EQ(holds.leave_to_neighbours(lock, machine.frames), destroyed);
  }

  test::FakeMachine& machine;
  DomId id;
  SharedDomain shared;
  std::array<Mfn, 4> frames{};
  FrameHolds holds{shared.mmu, [](Mfn, FrameType) { FAIL() << "a held frame has another type"; }};
};

using Machine = vmm::Neighbours<Owner>;

/// One domain after the other, as a guest that restarts.
void live_and_die(test::FakeMachine& machine, Machine& all, std::uint16_t first, int lives) {
  for (int i = 0; i < lives; ++i) {
    const DomId id(static_cast<std::uint16_t>(first + 2 * i));
    Owner owner(machine, id);
    all.join(id, owner);
    for (int n = 0; n < 20; ++n) {
      const DomainLock lock(owner.shared.mutex);
      owner.holds.settle(lock);
    }
    all.leave(id);
    owner.end();
  }
}

/// Holds frames of whoever is there, and keeps some of them for a while.
void visit(Machine& all, std::uint16_t domains, unsigned seed, const std::atomic<bool>& done) {
  std::mt19937 random(seed);
  std::array<SharedPage, 3> kept;
  std::array<std::uint16_t, 3> owners{};
  while (!done) {
    const auto id = static_cast<std::uint16_t>(1 + random() % domains);
    const std::size_t n = random() % kept.size();
    if (const auto owner = all.visit(DomId(id)))
      if (auto page = owner->hold(random())) {
        kept[n] = std::move(*page);
        owners[n] = id;
      }
    for (std::size_t k = 0; k < kept.size(); ++k) {
      const auto found = kept[k].present() ? kept[k].load<std::uint64_t>(0) : owners[k];
      ASSERT_EQ(found, owners[k]) << "somebody else's frame, or a scrubbed one";
    }
  }
}

TEST(Neighbours, hold_what_the_dead_left_until_they_let_go_and_no_frame_is_lost) {
  test::FakeMachine machine(256);
  const std::uint64_t free = machine.frames.free_frames();
  constexpr int lives = 50;
  {
    Machine all;
    std::atomic<bool> done = false;
    std::atomic<int> alive = 2;
    const auto owner = [&](std::uint16_t first) {
      live_and_die(machine, all, first, lives);
      if (--alive == 0) done = true;
    };
    together({[&] { owner(1); }, [&] { owner(2); }, [&] { visit(all, 2 * lives, 1, done); },
              [&] { visit(all, 2 * lives, 2, done); }});
  }
  EXPECT_EQ(machine.frames.free_frames(), free);
}

}  // namespace
}  // namespace pinfold::pvmmu::concurrency
