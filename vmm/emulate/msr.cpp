#include "vmm/emulate/msr.hpp"

#include <optional>

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t apic_default_address = 0xfee00000, apic_enabled = 1U << 11,
                        apic_boot_processor = 1U << 8;
// Fast strings are on, because kernels avoid REP MOVSB without them. Branch trace store, PEBS, xTPR messages
// and performance monitoring are off (Intel SDM vol. 4, table 2-2).
constexpr std::uint64_t misc_enable_value = (1U << 0) | (1U << 11) | (1U << 12) | (1U << 23);
constexpr std::uint64_t platform_cpuid_faulting = 1ULL << 31, enable_cpuid_faulting = 1;

std::optional<SegmentBase> base_named(std::uint32_t index) {
  switch (index) {
    case msr::fs_base: return SegmentBase::fs;
    case msr::gs_base: return SegmentBase::gs;
    case msr::kernel_gs_base: return SegmentBase::kernel_gs;
    default: return std::nullopt;
  }
}

std::optional<std::uint64_t> known_value(MsrState& state, std::uint32_t index) {
  if (const auto base = base_named(index)) return state.segment_base(*base);
  switch (index) {
    case msr::tsc: return state.read_tsc();
    case msr::efer: return msr::efer_value;
    case msr::pat: return msr::xen_pat;
    case msr::microcode_revision: return state.microcode_revision();
    case msr::apic_base:
      return apic_default_address | apic_enabled | (state.vcpu() == VcpuId(0) ? apic_boot_processor : 0);
    default: break;
  }
  // On AMD's processors these do not exist. XSA-333: the host must not read them.
  if (!state.intel()) return std::nullopt;
  switch (index) {
    case msr::misc_enable: return misc_enable_value;
    case msr::perf_capabilities: return 0;
    case msr::platform_info: return state.can_fault_cpuid() ? platform_cpuid_faulting : 0;
    case msr::misc_features_enables: return state.cpuid_faulting() ? enable_cpuid_faulting : 0;
    default: return std::nullopt;
  }
}

Status write_misc_features(MsrState& state, std::uint64_t value) {
  const std::uint64_t allowed = state.can_fault_cpuid() ? enable_cpuid_faulting : 0;
  if (!state.intel() || (value & ~allowed) != 0) return fail(Errno::eperm);
  state.set_cpuid_faulting((value & enable_cpuid_faulting) != 0);
  return {};
}

}  // namespace

tl::expected<std::uint64_t, Errno> read_msr(MsrState& state, std::uint32_t index) {
  if (const auto value = known_value(state, index)) return *value;
  if (!state.has_gp_handler()) return 0;
  return tl::unexpected(Errno::eperm);
}

Status write_msr(MsrState& state, std::uint32_t index, std::uint64_t value) {
  if (const auto base = base_named(index)) {
    // XSA-193: the host would fault on a base that is not canonical.
    if (!is_canonical(value)) return fail(Errno::eperm);
    state.set_segment_base(*base, value);
    return {};
  }
  switch (index) {
    case msr::misc_features_enables: return write_misc_features(state, value);
    case msr::xen_hypercall_page: return state.install_hypercall_page(value);
    case msr::efer:
    case msr::pat:
    case msr::misc_enable:
      // Their values are fixed. A guest may write the value that a register has.
      if (known_value(state, index) == value) return {};
      return fail(Errno::eperm);
    case msr::microcode_revision:
      // Intel's manual (volume 3, "Determining the signature") has software write 0 before it reads.
      return state.intel() && value == 0 ? Status() : fail(Errno::eperm);
    default: return fail(Errno::eperm);
  }
}

}  // namespace pinfold::vmm
