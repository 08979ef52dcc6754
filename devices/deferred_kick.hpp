// Wakes whom an event was raised for, once the lock of the ports is free.
#pragma once

#include "vmm/for_devices/events.hpp"

namespace pinfold::devices {

/// Remembers, under the lock, what was raised, and tells the target when it goes out of scope: declare it
/// before the lock.
class DeferredKick {
 public:
  DeferredKick() = default;
  DeferredKick(const DeferredKick&) = delete;
  DeferredKick& operator=(const DeferredKick&) = delete;
  ~DeferredKick() {
    if (target_ == nullptr) return;
    if (wakes_pollers_) target_->wake_pollers(port_);
    if (upcall_) target_->kick(vcpu_);
  }
  void set(vmm::EventTarget& target, Port port, VcpuId vcpu, bool upcall) {
    target_ = &target;
    port_ = port;
    vcpu_ = vcpu;
    upcall_ = upcall;
  }
  [[nodiscard]] bool is_set() const { return target_ != nullptr; }
  /// Another kick of the same moment wakes them: they look at all their ports.
  void leave_pollers() { wakes_pollers_ = false; }

 private:
  vmm::EventTarget* target_ = nullptr;
  Port port_;
  VcpuId vcpu_;
  bool upcall_ = false;
  bool wakes_pollers_ = true;
};

}  // namespace pinfold::devices
