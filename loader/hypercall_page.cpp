#include "loader/hypercall_page.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace pinfold::loader {
namespace {

constexpr std::size_t stub_size = 32;
constexpr std::size_t iret_number = 23;  // __HYPERVISOR_iret, xen/xen.h
constexpr std::uint8_t breakpoint = 0xcc;

using Stub = std::array<std::uint8_t, stub_size>;

/// SYSCALL destroys RCX and R11, so a stub keeps them on the stack.
constexpr Stub call_stub(std::uint8_t number) {
  Stub stub{
      0x51,                            // push %rcx
      0x41, 0x53,                      // push %r11
      0xb8, number, 0x00, 0x00, 0x00,  // mov $number, %eax
      0x0f, 0x05,                      // syscall
      0x41, 0x5b,                      // pop %r11
      0x59,                            // pop %rcx
      0xc3,                            // ret
  };
  std::fill(stub.begin() + 14, stub.end(), breakpoint);
  return stub;
}

/// The three lowest words of the frame that iret takes: RAX, R11, RCX (xen/arch-x86/xen-x86_64.h, struct
/// iret_context).
constexpr Stub iret_stub() {
  Stub stub{
      0x51,                                 // push %rcx
      0x41, 0x53,                           // push %r11
      0x50,                                 // push %rax
      0xb8, iret_number, 0x00, 0x00, 0x00,  // mov $23, %eax
      0x0f, 0x05,                           // syscall
      0x0f, 0x0b,                           // ud2
  };
  std::fill(stub.begin() + 13, stub.end(), breakpoint);
  return stub;
}

}  // namespace

void fill_hypercall_page(std::span<std::byte, page_size> page) {
  for (std::size_t i = 0; i < page_size / stub_size; ++i) {
    const Stub stub = i == iret_number ? iret_stub() : call_stub(static_cast<std::uint8_t>(i));
    std::ranges::copy(std::as_bytes(std::span(stub)),
                      page.begin() + static_cast<std::ptrdiff_t>(i * stub_size));
  }
}

}  // namespace pinfold::loader
