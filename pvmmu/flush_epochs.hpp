// Which processors of a domain may still remember what changed when.
#pragma once

#include <algorithm>
#include <vector>

#include "pvmmu/types.hpp"

namespace pinfold::pvmmu {

/// A stretch of a domain's history, from one flush to the next: 1 up.
using Epoch = Ordinal<struct EpochTag, std::uint64_t>;

/// Each vCPU's word that its processor has forgotten all translations made up to some epoch.
///
/// What needs the word of all: a mirror that was given up is used again for another table only when no
/// processor walks it any more, and a flush that the guest asked for (or the validator for it) is done only
/// when all whom it concerns have done it. What a processor remembers can be as old as its last flush; so one
/// number a vCPU is enough.
///
/// The order at a vCPU: `close` (or learn of an epoch that another one closed), have the processor forget,
/// then `forgot` that epoch. Whatever changed in between belongs to a later epoch, which the processor may
/// remember, or may not. Guarded by the domain's lock, which the owner proves.
class FlushEpochs {
 public:
  /// A vCPU's processor enters the guest for the first time, or again after `stopped`: it remembers nothing.
  void started(VcpuId vcpu) {
    if (vcpu.raw() >= forgotten_.size()) forgotten_.resize(vcpu.raw() + 1, stopped_);
    forgotten_[vcpu.raw()] = open_.raw() - 1;
  }
  /// It will not enter the guest again before `started`, and what it remembers is gone by then.
  void stopped(VcpuId vcpu) {
    if (vcpu.raw() < forgotten_.size()) forgotten_[vcpu.raw()] = stopped_;
  }
  /// Ends the current epoch, and gives its number: all that has changed until now belongs to it or to earlier
  /// ones.
  Epoch close() {
    const Epoch closed = open_;
    open_ = open_.plus(1);
    return closed;
  }
  /// The vCPU's processor has forgotten what it remembered of `epoch`, a closed one, and of those before.
  void forgot(VcpuId vcpu, Epoch epoch) {
    if (vcpu.raw() >= forgotten_.size() || forgotten_[vcpu.raw()] == stopped_) return;
    forgotten_[vcpu.raw()] = std::max(forgotten_[vcpu.raw()], std::min(epoch.raw(), open_.raw() - 1));
  }
  /// Must the vCPU's processor still forget something of `epoch`?
  [[nodiscard]] bool owes(VcpuId vcpu, Epoch epoch) const {
    return vcpu.raw() < forgotten_.size() && forgotten_[vcpu.raw()] < epoch.raw();
  }
  /// No processor remembers anything of this epoch and of those before. With no vCPU started: of any closed
  /// one.
  [[nodiscard]] Epoch forgotten_by_all() const {
    std::uint64_t least = open_.raw() - 1;
    for (const std::uint64_t epoch : forgotten_) least = std::min(least, epoch);
    return Epoch(least);
  }

 private:
  static constexpr std::uint64_t stopped_ = ~0ULL;
  Epoch open_{1};
  std::vector<std::uint64_t>
      forgotten_;  ///< By vCPU: the last epoch of which its processor knows nothing more.
};

}  // namespace pinfold::pvmmu
