// The model-specific registers that a PV guest can read and write with RDMSR and WRMSR.
#pragma once

#include <cstdint>
#include <tl/expected.hpp>

#include "pvmmu/errno.hpp"
#include "pvmmu/types.hpp"
#include "vmm/msr_numbers.hpp"

namespace pinfold::vmm {

namespace msr {
/// The memory types that a PV guest's page-table entries select: WB, WT, UC-, UC, WC, WP,
/// UC, UC. Part of the ABI.
inline constexpr std::uint64_t xen_pat = 0x050100070406;
/// SCE, LME, LMA and NXE.
inline constexpr std::uint64_t efer_value = 0xd01;
}  // namespace msr

enum class SegmentBase : std::uint8_t { fs, gs, kernel_gs };

/// The vCPU's state behind the registers.
class MsrState {
 public:
  virtual ~MsrState() = default;
  /// `gs` is the base in use, `kernel_gs` that of the other guest mode.
  [[nodiscard]] virtual std::uint64_t segment_base(SegmentBase which) = 0;
  /// `address` is canonical.
  virtual void set_segment_base(SegmentBase which, std::uint64_t address) = 0;
  [[nodiscard]] virtual std::uint64_t read_tsc() = 0;
  [[nodiscard]] virtual VcpuId vcpu() = 0;
  [[nodiscard]] virtual bool intel() = 0;
  /// Of the processor's microcode, as register 0x8b has it.
  [[nodiscard]] virtual std::uint64_t microcode_revision() = 0;
  /// Is a handler for vector 13 registered?
  [[nodiscard]] virtual bool has_gp_handler() = 0;
  /// Can the monitor make the guest's CPUID fault?
  [[nodiscard]] virtual bool can_fault_cpuid() { return false; }
  [[nodiscard]] virtual bool cpuid_faulting() { return false; }
  virtual void set_cpuid_faulting(bool /*on*/) {}
  /// Writes a hypercall page (xen/arch-x86/cpuid.h, leaf 3) at the frame in `value`.
  [[nodiscard]] virtual Status install_hypercall_page(std::uint64_t /*value*/) { return fail(Errno::eperm); }
};

/// After EPERM the guest gets #GP[0]. While it has no #GP handler, an unknown register reads as 0: PV kernels
/// probe registers before they can handle exceptions.
[[nodiscard]] tl::expected<std::uint64_t, Errno> read_msr(MsrState& state, std::uint32_t index);
/// After an error the guest gets #GP[0].
[[nodiscard]] Status write_msr(MsrState& state, std::uint32_t index, std::uint64_t value);

}  // namespace pinfold::vmm
