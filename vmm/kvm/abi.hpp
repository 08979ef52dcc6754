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
struct RoutingHeader {
  std::uint32_t count = 0;
  std::uint32_t flags = 0;
};
/// KVM_SET_SIGNAL_MASK's argument, with the kernel's sigset_t, which has 64 bits on x86-64.
struct [[gnu::packed]] SignalMask {
  std::uint32_t length = sizeof(std::uint64_t);
  std::uint64_t blocked = 0;
};
/// KVM_GET_XSAVE and KVM_SET_XSAVE: the standard XSAVE area.
struct alignas(64) XsaveArea {
  std::uint32_t region[1024] = {};
};
static_assert(sizeof(CpuidHeader) == 8 && sizeof(MsrsHeader) == 8 && sizeof(RoutingHeader) == 8);
static_assert(sizeof(SignalMask) == 12 && sizeof(XsaveArea) == 4096);
static_assert(sizeof(kvm_cpuid_entry2) == 40 && sizeof(kvm_msr_entry) == 16 &&
              sizeof(kvm_irq_routing_entry) == 48);

inline constexpr unsigned long get_supported_cpuid = _IOWR(KVMIO, 0x05, CpuidHeader);
inline constexpr unsigned long set_cpuid2 = _IOW(KVMIO, 0x90, CpuidHeader);
inline constexpr unsigned long get_msrs = _IOWR(KVMIO, 0x88, MsrsHeader);
inline constexpr unsigned long set_msrs = _IOW(KVMIO, 0x89, MsrsHeader);
inline constexpr unsigned long set_gsi_routing = _IOW(KVMIO, 0x6a, RoutingHeader);
inline constexpr unsigned long set_signal_mask = _IOW(KVMIO, 0x8b, std::uint32_t);
inline constexpr unsigned long get_xsave = _IOR(KVMIO, 0xa4, XsaveArea);
inline constexpr unsigned long set_xsave = _IOW(KVMIO, 0xa5, XsaveArea);

// The values that gcc computes from the header in C.
static_assert(get_supported_cpuid == 0xc008ae05 && set_cpuid2 == 0x4008ae90);
static_assert(get_msrs == 0xc008ae88 && set_msrs == 0x4008ae89 && set_gsi_routing == 0x4008ae6a);
static_assert(set_signal_mask == 0x4004ae8b && get_xsave == 0x9000aea4 && set_xsave == 0x5000aea5);

/// Some distributions' headers are older and lack it.
inline constexpr int cap_memory_fault_info = 232;
inline constexpr std::uint32_t exit_memory_fault = 39;

}  // namespace pinfold::vmm::abi
