// What lies on a vCPU's gate stack.
#pragma once

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

}  // namespace gate

}  // namespace pinfold::vmm
