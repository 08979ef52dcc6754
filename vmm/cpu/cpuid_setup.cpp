#include "vmm/cpu/cpuid_setup.hpp"

#include <cstdint>
#include <utility>

#include "vmm/cpuid_native.hpp"

namespace pinfold::vmm {

CpuidSource kvm_cpuid(std::vector<kvm_cpuid_entry2> supported, CpuidSource processor) {
  constexpr std::uint32_t extended_base = 0x80000000, first_of_name = 0x80000002, last_of_name = 0x80000004;
  return [supported = std::move(supported), processor = std::move(processor)](std::uint32_t leaf,
                                                                              std::uint32_t subleaf) {
    if (leaf >= first_of_name && leaf <= last_of_name) return processor(leaf, subleaf);
    for (const auto& e : supported) {
      if (e.function != leaf || ((e.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0 && e.index != subleaf))
        continue;
      CpuidResult listed{e.eax, e.ebx, e.ecx, e.edx};
      if (leaf == extended_base && listed.eax < last_of_name && processor(leaf, 0).eax >= last_of_name)
        listed.eax = last_of_name;
      return listed;
    }
    return CpuidResult{};
  };
}

tl::expected<CpuidPolicy, std::string> cpuid_policy_for(const Kvm& kvm, const HostTraits& host,
                                                        const Clock& clock) {
  auto supported = kvm.supported_cpuid();
  if (!supported) return tl::unexpected(supported.error().message);
  // Where code at CPL3 runs without VT-x or SVM, programs can use everything that the processor has, whatever
  // KVM supports. The guest's kernel has to know of it, to save their registers.
  const bool native = host.syscall_stays_at_cpl3;
  const CpuidSource source = native ? native_cpuid() : kvm_cpuid(std::move(*supported), native_cpuid());
  CpuidOptions options;
  const CpuidResult states = source(0xd, 0);
  options.xcr0 = native ? native_xcr0() : std::uint64_t{states.edx} << 32 | states.eax;
  options.tsc_khz = clock.tsc_khz();
  options.tsc_to_ns_mul = clock.scale().mul;
  options.tsc_shift = clock.scale().shift;
  options.tsc_reliable = host.tsc_invariant;
  options.sysenter = false;
  options.fsgsbase = host.fsgsbase;
  constexpr std::uint32_t genu = 0x756e6547;  // Intel processors clear it; AMD ones say so themselves
  options.null_selector_clears_base = source(0, 0).ebx == genu;
  return CpuidPolicy(source, options);
}

std::vector<kvm_cpuid_entry2> cpuid_entries(const CpuidPolicy& policy, VcpuId vcpu) {
  constexpr std::uint32_t xen_leaves = 0x40000000, extended_leaves = 0x80000000;
  const CpuidAsker asker{vcpu, false, true, policy.xcr0_offered()};
  std::vector<kvm_cpuid_entry2> entries;
  const auto add = [&](std::uint32_t leaf, std::uint32_t subleaves) {
    for (std::uint32_t sub = 0; sub < subleaves; ++sub) {
      const CpuidResult r = policy.answer(leaf, sub, asker);
      kvm_cpuid_entry2 e{};
      e.function = leaf;
      e.index = sub;
      e.flags = subleaves > 1 ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0U;
      e.eax = r.eax, e.ebx = r.ebx, e.ecx = r.ecx, e.edx = r.edx;
      entries.push_back(e);
    }
  };
  for (std::uint32_t leaf = 0; leaf <= policy.answer(0, 0, asker).eax; ++leaf) {
    constexpr std::uint32_t state_components = 12;
    add(leaf, leaf == 0xd ? state_components : leaf == 4 || leaf == 7 || leaf == 0xb ? 3U : 1U);
  }
  for (std::uint32_t leaf = xen_leaves; leaf <= policy.answer(xen_leaves, 0, asker).eax; ++leaf) add(leaf, 1);
  for (std::uint32_t leaf = extended_leaves; leaf <= policy.answer(extended_leaves, 0, asker).eax; ++leaf)
    add(leaf, 1);
  return entries;
}

}  // namespace pinfold::vmm
