#include "vmm/gate/resident_share.hpp"

#include <immintrin.h>

#include <chrono>
#include <thread>

namespace pinfold::vmm {

namespace {

/// How long somebody waits for a gate that runs; one whose processor is busy with something else takes
/// longer.
constexpr unsigned spins = 1000;
constexpr auto nap = std::chrono::microseconds(50);
constexpr unsigned naps_between_kicks = 20;

}  // namespace

ResidentShare::ResidentShare(Parts parts) : parts_(std::move(parts)), cpus_(parts_.flags.size()) {}

bool ResidentShare::keep_out(pvmmu::Held held) {
  std::atomic_ref(parts_.control.taken).store(1);
  bool waited = false;
  for (std::size_t cpu = 0; cpu < cpus_.size(); ++cpu) {
    if (!is_inside(cpu)) [[likely]]
      continue;
    waited = true;
    await_outside(cpu);
  }
  for (std::size_t cpu = 0; cpu < cpus_.size(); ++cpu)
    if (std::atomic_ref(parts_.flags[cpu]->roots_moved).load(std::memory_order_relaxed) != 0) [[unlikely]]
      settle(held, cpu);
  return waited;
}

/// Only whoever is inside sets the flag, and nobody is. A flag that appears all the same is looked at the
/// next time.
void ResidentShare::settle(pvmmu::Held held, std::size_t cpu) {
  std::atomic_ref(parts_.flags[cpu]->roots_moved).store(0, std::memory_order_relaxed);
  parts_.settle(held, VcpuId(static_cast<std::uint32_t>(cpu)));
}

void ResidentShare::await_outside(std::size_t cpu) {
  for (unsigned i = 0; i < spins; ++i) {
    if (!is_inside(cpu)) return;
    _mm_pause();
  }
  for (unsigned naps = 1; is_inside(cpu); ++naps) {
    std::this_thread::sleep_for(nap);
    if (naps % naps_between_kicks == 0) parts_.kick(VcpuId(static_cast<std::uint32_t>(cpu)));
  }
}

void ResidentShare::let_in() {
  if (parts_.usable) std::atomic_ref(parts_.control.taken).store(0, std::memory_order_release);
}

void ResidentShare::set_frames(std::uint64_t frames) {
  std::atomic_ref(parts_.control.frames).store(frames, std::memory_order_relaxed);
}

bool ResidentShare::leaves(VcpuId cpu) {
  const bool inside = flag(cpu.raw()).load() != 0;
  if (inside) [[unlikely]] {
    for (gate::ControlPage::TableLock& table : parts_.control.tables) {
      const std::atomic_ref owner(table.owner);
      if (owner.load() == cpu.raw() + 1) owner.store(0);
    }
    flag(cpu.raw()).store(0);
  }
  cpus_[cpu.raw()].in_guest.store(false);
  return inside;
}

}  // namespace pinfold::vmm
