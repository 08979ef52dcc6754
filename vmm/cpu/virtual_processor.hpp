// The processor that privileged instructions of a PV guest see: control, debug and model-specific registers,
// I/O ports.
#pragma once

#include "pvmmu/lock.hpp"
#include "vmm/emulate/msr.hpp"
#include "vmm/emulate/privileged.hpp"
#include "vmm/memory/guest_access.hpp"

namespace pinfold::vmm {

class GuestCpu;

/// Answers the emulator from a vCPU's state. `emulating` opens it for one instruction.
class VirtualProcessor final : public PrivilegedState, public MsrState {
 public:
  explicit VirtualProcessor(GuestCpu& cpu) : cpu_(cpu) {}

  /// Runs `use` with this as the emulator's state, and the memory of the guest's current mode.
  template <class Use>
  auto emulating(pvmmu::Held held, GuestAccess& memory, Use&& use) {
    held_ = &held;
    memory_ = &memory;
    auto result = use(static_cast<PrivilegedState&>(*this));
    held_ = nullptr;
    memory_ = nullptr;
    return result;
  }

  tl::expected<std::uint64_t, Errno> read_cr(unsigned n) override;
  Status write_cr(unsigned n, std::uint64_t value) override;
  void clear_ts() override;
  tl::expected<std::uint64_t, Errno> read_dr(unsigned n) override;
  Status write_dr(unsigned n, std::uint64_t value) override;
  tl::expected<std::uint64_t, Errno> read_msr(std::uint32_t index) override;
  Status write_msr(std::uint32_t index, std::uint64_t value) override;
  std::uint64_t read_tsc() override;
  CpuidResult cpuid(std::uint32_t leaf, std::uint32_t subleaf, bool kernel_mode) override;
  bool cpuid_faults_in_user() override { return false; }
  Status xsetbv(std::uint32_t index, std::uint64_t value) override;
  bool io_privileged(bool kernel_mode) override;
  bool ports_allowed(std::uint16_t port, unsigned size, bool kernel_mode) override;
  std::uint32_t port_in(std::uint16_t port, unsigned size) override;
  void port_out(std::uint16_t port, unsigned size, std::uint32_t value) override;
  std::uint64_t ports_hit(std::uint16_t port, unsigned size) override;
  GuestMemory& memory() override { return *memory_; }

  std::uint64_t segment_base(SegmentBase which) override;
  void set_segment_base(SegmentBase which, std::uint64_t address) override;
  VcpuId vcpu() override;
  bool intel() override;
  std::uint64_t microcode_revision() override;
  bool has_gp_handler() override;

 private:
  GuestCpu& cpu_;
  const pvmmu::DomainLock* held_ = nullptr;
  GuestAccess* memory_ = nullptr;
};

}  // namespace pinfold::vmm
