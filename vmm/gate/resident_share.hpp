// The domain's lock, shared with the resident path.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "pvmmu/lock.hpp"
#include "vmm/gate/control_page.hpp"
#include "vmm/gate/state_page.hpp"

namespace pinfold::vmm {

/// The monitor's side of what `Inside` is in resident.cpp. A vCPU in the gate sets its flag and then looks at
/// `taken`; whoever wants the lock alone sets `taken` and then looks at all flags. Both are sequentially
/// consistent, so at least one of the two sees the other.
///
/// The flags are in memory that code in the VM writes. So a flag counts only while its vCPU is in the guest,
/// and whoever waits for one makes the vCPU leave the guest now and then: a vCPU that comes out of anything
/// but the gate with its flag set has lied, and one that comes out of the gate goes on there, a bounded
/// number of times.
///
/// Concurrency: keep_out() and let_in() under the mutex of the domain's lock; enters() and leaves() by the
/// vCPU's thread.
class ResidentShare final : public pvmmu::SharersInVm {
 public:
  /// `flags`: of each vCPU; `usable`: false as soon as the gate may not do its work any more; `kick`: makes a
  /// vCPU leave the guest, without any lock; `settle`: the vCPU's gate says that it has loaded other roots.
  /// All outlive it.
  struct Parts {
    std::vector<gate::ResidentFlags*> flags;
    gate::ControlPage& control;
    const bool& usable;
    std::function<void(VcpuId)> kick;
    std::function<void(pvmmu::Held, VcpuId)> settle;
  };
  explicit ResidentShare(Parts parts);

  bool keep_out(pvmmu::Held held) override;
  void let_in() override;
  /// The records are about so many frames. With the lock held alone.
  void set_frames(std::uint64_t frames);

  /// The vCPU is about to enter the guest.
  void enters(VcpuId cpu) { cpus_[cpu.raw()].in_guest.store(true); }
  /// It has left, and is not entered again before it has the lock. True: it still shared the lock, which is
  /// over now.
  [[nodiscard]] bool leaves(VcpuId cpu);

  /// How often a vCPU that was interrupted in the gate is sent back into it. The gate needs a few hundred
  /// instructions, and gets at least one each time.
  static constexpr std::uint64_t most_returns = 10'000;

 private:
  [[nodiscard]] std::atomic_ref<std::uint64_t> flag(std::size_t cpu) const {
    return std::atomic_ref(parts_.flags[cpu]->inside);
  }
  [[nodiscard]] bool is_inside(std::size_t cpu) const {
    return flag(cpu).load() != 0 && cpus_[cpu].in_guest.load();
  }
  void await_outside(std::size_t cpu);
  void settle(pvmmu::Held held, std::size_t cpu);

  struct alignas(64) Cpu {
    std::atomic<bool> in_guest{false};
  };
  Parts parts_;
  std::vector<Cpu> cpus_;
};

}  // namespace pinfold::vmm
