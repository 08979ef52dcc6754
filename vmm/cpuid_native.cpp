#include "vmm/cpuid_native.hpp"

#include <cpuid.h>

namespace pinfold::vmm {

CpuidSource native_cpuid() {
  return [](std::uint32_t leaf, std::uint32_t subleaf) {
    CpuidResult result;
    __cpuid_count(leaf, subleaf, result.eax, result.ebx, result.ecx, result.edx);
    return result;
  };
}

std::uint64_t native_xcr0() {
  constexpr std::uint32_t osxsave = 1U << 27;
  if ((native_cpuid()(1, 0).ecx & osxsave) == 0) return 0;
  std::uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (std::uint64_t{high} << 32) | low;
}

}  // namespace pinfold::vmm
