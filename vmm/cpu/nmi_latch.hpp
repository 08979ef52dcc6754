// One vCPU's NMI: pending, masked, or neither.
#pragma once

namespace pinfold::vmm {

/// An NMI waits here until the guest's kernel can be entered for it. From then on further NMIs are masked,
/// until the next HYPERVISOR_iret of the vCPU, whatever that returns from (Xen: arch/x86/pv/iret.c). One NMI
/// can wait; more of them are one.
///
/// Concurrency: the domain's lock.
class NmiLatch {
 public:
  void post() { pending_ = true; }
  [[nodiscard]] bool is_due() const { return pending_ && !masked_; }
  [[nodiscard]] bool is_masked() const { return masked_; }
  /// The kernel has no handler: the NMI is lost, as on Xen.
  void drop() { pending_ = false; }
  /// The handler is entered.
  void begin() {
    pending_ = false;
    masked_ = true;
  }
  /// HYPERVISOR_iret.
  void unmask() { masked_ = false; }

 private:
  bool pending_ = false;
  bool masked_ = false;
};

}  // namespace pinfold::vmm
