// What lies on a vCPU's gate stack.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pinfold::vmm {

/// The 16-byte-aligned frame that a processor pushes at an exception (Intel SDM vol. 3, 6.14.2), with the
/// error code of vectors that have one.
struct ExceptionFrame {
  std::uint64_t error_code = 0, rip = 0, cs = 0, rflags = 0, rsp = 0, ss = 0;
};

namespace gate {

/// All that the fast paths push, from RSP up.
struct FastFrame {
  std::uint64_t rdi, rsi, rbx, rdx, rcx, rax;
  std::uint64_t kind;  ///< The vector, `bounced_syscalls` or `bounced_events`.
  ExceptionFrame interrupted;
};

/// What the gate pushes more before it lets the resident path emulate a store, so that all registers of the
/// interrupted code but RSP are in one array.
struct StoreFrame {
  std::uint64_t rbp, r8_to_r15[8];
  FastFrame fast;

  static constexpr std::size_t places = 15;
  /// The place of a register by its number in an instruction, counted in words. Not for RSP.
  [[nodiscard]] static constexpr std::size_t place(std::uint8_t gpr) {
    constexpr std::uint64_t packed = 0x87654321'9a0'f'bcdeULL;  // four bits each, RAX in the lowest
    return packed >> (4 * gpr) & 15;
  }
};
static_assert(StoreFrame::place(0) * 8 == offsetof(StoreFrame, fast) + offsetof(FastFrame, rax));
static_assert(StoreFrame::place(1) * 8 == offsetof(StoreFrame, fast) + offsetof(FastFrame, rcx));
static_assert(StoreFrame::place(2) * 8 == offsetof(StoreFrame, fast) + offsetof(FastFrame, rdx));
static_assert(StoreFrame::place(3) * 8 == offsetof(StoreFrame, fast) + offsetof(FastFrame, rbx));
static_assert(StoreFrame::place(5) * 8 == offsetof(StoreFrame, rbp));
static_assert(StoreFrame::place(6) * 8 == offsetof(StoreFrame, fast) + offsetof(FastFrame, rsi));
static_assert(StoreFrame::place(7) * 8 == offsetof(StoreFrame, fast) + offsetof(FastFrame, rdi));
static_assert(StoreFrame::place(8) * 8 == offsetof(StoreFrame, r8_to_r15) && StoreFrame::place(15) == 8);

}  // namespace gate

}  // namespace pinfold::vmm
