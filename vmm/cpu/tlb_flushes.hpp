// Dropping translations on the vCPUs of a domain. The vCPU that asks goes on when each of the others has left
// the guest; on its way back there each drops its own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>

#include "pvmmu/lock.hpp"
#include "pvmmu/trace.hpp"
#include "pvmmu/validator.hpp"
#include "vmm/cpu/flush_duties.hpp"
#include "vmm/ending.hpp"

namespace pinfold::vmm {

/// The flush protocol (flush_duties.hpp) with what it needs to happen: kicks, and a place to wait until
/// others have left the guest. Offers flushes to hypercalls, and the looks before an entry to the vCPUs'
/// loops.
///
/// Concurrency: the domain's lock for all members. Those that take it as a DomainLock let go of it while they
/// wait, and others may enter the guest then. A vCPU that waits is not in the guest, so two that wait for
/// each other both go on. Every wait ends with the domain.
class TlbFlushes {
 public:
  struct Parts {
    std::uint32_t vcpus = 1;
    /// Where KVM shadows page tables, what one vCPU refreshes is fresh for all.
    bool one_for_all = false;
    const DomainEnd& end;
    std::function<void(VcpuId)> kick;
    pvmmu::TraceSink* trace = nullptr;  ///< Is told of each flush that is asked for.
  };
  explicit TlbFlushes(Parts parts) : parts_(std::move(parts)), duties_(parts_.vcpus, parts_.one_for_all) {}

  /// What each vCPU still has to do.
  [[nodiscard]] FlushDuties& duties() { return duties_; }

  // -- requests
  /// Before guest code runs again on `by`, `target` (itself or another) has dropped its translations or has
  /// left the guest, and drops them before it returns there.
  void flush(VcpuId by, VcpuId target);
  /// The same of all vCPUs of the domain.
  void flush_all(VcpuId by);

  // -- before an entry of `by`
  /// Until each vCPU that `by` waits for has left the guest.
  void await(pvmmu::DomainLock& lock, VcpuId by);
  /// Until each other vCPU has been out of the guest once; no flush is due for that.
  void call_out_others(pvmmu::DomainLock& lock, VcpuId by);
  /// Mirrors that were given up wait for a flush of all vCPUs. Once there are many of them this makes one, so
  /// that a guest which never asks for a flush can't use them all up; where KVM keeps a shadow, the stale log
  /// sees to it. False: a processor may walk them still, and they must not be reused.
  [[nodiscard]] bool reuse_retired_mirrors(pvmmu::DomainLock& lock, VcpuId by, pvmmu::Validator& mmu);

  // -- where the vCPUs are
  void entered(VcpuId vcpu) { duties_.entered(vcpu); }
  void left(VcpuId vcpu) {
    duties_.left(vcpu);
    vcpu_rests();
  }
  /// A vCPU has come to rest, which somebody may wait for.
  void vcpu_rests() { left_guest_.notify_all(); }
  /// Waits until `done()`, which is asked whenever a vCPU leaves the guest or comes to rest. False: it is not
  /// true yet after `limit`.
  template <class Done>
  [[nodiscard]] bool wait_for(pvmmu::DomainLock& lock, std::chrono::milliseconds limit, Done&& done) {
    return left_guest_.wait_for(lock, limit, done);
  }

 private:
  void request(VcpuId by, VcpuId target);
  [[gnu::cold]] void trace(std::uint64_t vcpu);

  Parts parts_;
  FlushDuties duties_;
  std::condition_variable_any left_guest_;
};

}  // namespace pinfold::vmm
