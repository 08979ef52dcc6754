// The segment bases of a KVM vCPU.
#pragma once

#include "vmm/cpu/base_registers.hpp"
#include "vmm/cpu/flush_duties.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/msr_numbers.hpp"

namespace pinfold::vmm {

/// Reads them from the run page and, the inactive GS, from its MSR.
class VcpuBases final : public ProcessorBases {
 public:
  VcpuBases(Vcpu& vcpu, const FlushDuties& duties, VcpuId id) : vcpu_(vcpu), duties_(duties), id_(id) {}

  [[nodiscard]] bool in_guest() const override { return duties_.in_guest(id_); }
  [[nodiscard]] std::uint64_t fs() override { return vcpu_.sregs().fs.base; }
  [[nodiscard]] std::uint64_t gs() override { return vcpu_.sregs().gs.base; }
  [[nodiscard]] std::optional<std::uint64_t> inactive_gs() override {
    const auto base = vcpu_.msr(msr::kernel_gs_base);
    return base ? std::optional(*base) : std::nullopt;
  }
  [[nodiscard]] std::optional<std::string> set_inactive_gs(std::uint64_t base) override {
    const auto set = vcpu_.set_msr(msr::kernel_gs_base, base);
    return set ? std::nullopt : std::optional(set.error().message);
  }

 private:
  Vcpu& vcpu_;
  const FlushDuties& duties_;
  VcpuId id_;
};

}  // namespace pinfold::vmm
