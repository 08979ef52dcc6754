// Parts of KVM's ABI that <linux/kvm.h> gets wrong in C++, or lacks in old versions.
//
// Some kernels' headers declare a flexible array at the end of a struct through an empty struct, which
// has no size in C and one byte in C++. So the array's offset and the struct's size, which is part of
// the ioctl's number, are wrong in C++, and the call fails with EINVAL. The definitions here have C's
// sizes (Linux Documentation/virt/kvm/api.rst).
#pragma once

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cstdint>

namespace pinfold::vmm::abi {

/// Headers of variable-sized arguments; the array follows directly.
struct CpuidHeader {
  std::uint32_t count = 0;
  std::uint32_t padding = 0;
};
struct MsrsHeader {
  std::uint32_t count = 0;
  std::uint32_t padding = 0;
};
static_assert(sizeof(CpuidHeader) == 8 && sizeof(MsrsHeader) == 8);
static_assert(sizeof(kvm_cpuid_entry2) == 40 && sizeof(kvm_msr_entry) == 16);

inline constexpr unsigned long get_supported_cpuid = _IOWR(KVMIO, 0x05, CpuidHeader);
inline constexpr unsigned long set_cpuid2 = _IOW(KVMIO, 0x90, CpuidHeader);
inline constexpr unsigned long get_msrs = _IOWR(KVMIO, 0x88, MsrsHeader);
inline constexpr unsigned long set_msrs = _IOW(KVMIO, 0x89, MsrsHeader);

// The values that gcc computes from the header in C.
static_assert(get_supported_cpuid == 0xc008ae05 && set_cpuid2 == 0x4008ae90);
static_assert(get_msrs == 0xc008ae88 && set_msrs == 0x4008ae89);

/// Some distributions' headers are older and lack it.
inline constexpr int cap_memory_fault_info = 232;
inline constexpr std::uint32_t exit_memory_fault = 39;

}  // namespace pinfold::vmm::abi
