// Advisories about what a guest could see: initial registers, the ends of buffers, processor features.
#include <xen/version.h>

#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

/// XSA-165, 52, 62, 172, 220, 267: floating-point state of others.
void initial_registers() {
  alignas(16) static u64 xmm[32];
  u32 mxcsr = 0;
  u16 control = 0;
  asm volatile(
      "movups %%xmm0, 0(%0)\n movups %%xmm1, 16(%0)\n movups %%xmm2, 32(%0)\n movups %%xmm3, 48(%0)\n"
      "movups %%xmm4, 64(%0)\n movups %%xmm5, 80(%0)\n movups %%xmm6, 96(%0)\n movups %%xmm7, 112(%0)\n"
      "movups %%xmm8, 128(%0)\n movups %%xmm9, 144(%0)\n movups %%xmm10, 160(%0)\n movups %%xmm11, 176(%0)\n"
      "movups %%xmm12, 192(%0)\n movups %%xmm13, 208(%0)\n movups %%xmm14, 224(%0)\n movups %%xmm15, "
      "240(%0)\n"
      "stmxcsr %1\n fnstcw %2"
      :
      : "r"(xmm), "m"(mxcsr), "m"(control)
      : "memory");
  for (u64 word : xmm) CHECK_EQ(word, 0);
  CHECK_EQ(mxcsr, 0x1f80);
  CHECK_EQ(control, 0x37f);
}

/// XSA-122: the bytes behind the text of a version string.
void version_strings() {
  Page *first = new_page(), *second = new_page();
  constexpr struct {
    u64 command, size;
  } texts[] = {{XENVER_extraversion, 16},   {XENVER_compile_info, 64 + 16 + 32 + 32},
               {XENVER_capabilities, 1024}, {XENVER_changeset, 64},
               {XENVER_commandline, 1024},  {XENVER_guest_handle, 16}};
  for (const auto& text : texts) {
    // A byte is untouched if it is as before whatever was there: one of the handle may be any by chance.
    for (u64& w : first->words) w = 0xa5a5a5a5a5a5a5a5;
    for (u64& w : second->words) w = 0x5a5a5a5a5a5a5a5a;
    const long got = hypercall(__HYPERVISOR_xen_version, text.command, first);
    CHECK_EQ(hypercall(__HYPERVISOR_xen_version, text.command, second), got);
    if (got < 0) continue;
    const auto* bytes = reinterpret_cast<const u8*>(first);
    const auto* again = reinterpret_cast<const u8*>(second);
    bool ended = text.command == XENVER_compile_info || text.command == XENVER_guest_handle;
    u64 untouched = 0;
    for (u64 i = 0; i < text.size; ++i) {
      if (bytes[i] == 0xa5 && again[i] == 0x5a) ++untouched;
      if (bytes[i] == 0) ended = true;
    }
    CHECK_EQ(untouched, 0);
    CHECK(ended);
    CHECK_EQ(bytes[text.size], 0xa5);
  }
}

struct Leaf {
  u32 a, b, c, d;
};
Leaf cpuid(u32 leaf, u32 subleaf = 0) {
  Leaf l{};
  asm volatile(".byte 0x0f, 0x0b, 'x', 'e', 'n'\n cpuid"
               : "=a"(l.a), "=b"(l.b), "=c"(l.c), "=d"(l.d)
               : "a"(leaf), "c"(subleaf));
  return l;
}

/// XSA-174: CPUID shows no large pages, which a PV guest can't use, and no features that
/// only a hypervisor can use.
void features() {
  CHECK_EQ(cpuid(1).d & (1U << 3 | 1U << 17), 0);             // PSE, PSE36
  CHECK_EQ(cpuid(0x80000001).d & 1U << 26, 0);                // pages of 1 GiB
  CHECK_EQ(cpuid(1).c & (1U << 5 | 1U << 17), 0);             // VMX, PCID
  CHECK_EQ(cpuid(7).b & (1U << 7 | 1U << 20 | 1U << 10), 0);  // SMEP, SMAP, INVPCID
}

}  // namespace

void test() {
  initial_registers();
  install_traps();
  cr2();
  version_strings();
  features();
}
