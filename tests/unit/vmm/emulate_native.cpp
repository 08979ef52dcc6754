#include "emulate_native.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

extern "C" {
struct PinfoldNativeFrame {
  std::uint64_t gpr[16];  // offset 8 * number
  std::uint64_t flags;    // offset 128
};
PinfoldNativeFrame* pinfold_native_frame;
std::uint64_t pinfold_native_host_stack;
std::uint64_t pinfold_native_guest_stack;
const void* pinfold_native_code;
void pinfold_native_run(PinfoldNativeFrame* frame);
void pinfold_native_return();
}

// RSP is loaded like the others, so nothing may use the stack while the registers have
// the instruction's values.
asm(R"(
.text
.globl pinfold_native_run
.type pinfold_native_run, @function
pinfold_native_run:
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, pinfold_native_host_stack(%rip)
  mov %rdi, pinfold_native_frame(%rip)
  pushq 128(%rdi)
  popfq
  mov 0(%rdi), %rax
  mov 8(%rdi), %rcx
  mov 16(%rdi), %rdx
  mov 24(%rdi), %rbx
  mov 32(%rdi), %rsp
  mov 40(%rdi), %rbp
  mov 48(%rdi), %rsi
  mov 64(%rdi), %r8
  mov 72(%rdi), %r9
  mov 80(%rdi), %r10
  mov 88(%rdi), %r11
  mov 96(%rdi), %r12
  mov 104(%rdi), %r13
  mov 112(%rdi), %r14
  mov 120(%rdi), %r15
  mov 56(%rdi), %rdi
  jmp *pinfold_native_code(%rip)

.globl pinfold_native_return
.type pinfold_native_return, @function
pinfold_native_return:
  mov %rsp, pinfold_native_guest_stack(%rip)
  mov pinfold_native_host_stack(%rip), %rsp
  pushfq
  push %rdi
  mov pinfold_native_frame(%rip), %rdi
  mov %rax, 0(%rdi)
  mov %rcx, 8(%rdi)
  mov %rdx, 16(%rdi)
  mov %rbx, 24(%rdi)
  mov %rbp, 40(%rdi)
  mov %rsi, 48(%rdi)
  mov %r8, 64(%rdi)
  mov %r9, 72(%rdi)
  mov %r10, 80(%rdi)
  mov %r11, 88(%rdi)
  mov %r12, 96(%rdi)
  mov %r13, 104(%rdi)
  mov %r14, 112(%rdi)
  mov %r15, 120(%rdi)
  popq 56(%rdi)
  popq 128(%rdi)
  mov pinfold_native_guest_stack(%rip), %rax
  mov %rax, 32(%rdi)
  cld
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  ret
)");

namespace pinfold::vmm::test {
namespace {

constexpr std::size_t all_pages = 3 * 4096;
constexpr int arch_set_gs = 0x1001;

}  // namespace

NativeProcessor::NativeProcessor() {
  void* pages = mmap(nullptr, all_pages, PROT_READ | PROT_WRITE | PROT_EXEC,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  if (pages == MAP_FAILED) std::abort();
  pages_ = static_cast<std::byte*>(pages);
  if (syscall(SYS_arch_prctl, arch_set_gs, gs_base()) != 0) std::abort();
}

NativeProcessor::~NativeProcessor() {
  syscall(SYS_arch_prctl, arch_set_gs, 0UL);
  munmap(pages_, all_pages);
}

std::uint64_t NativeProcessor::code_address() const { return reinterpret_cast<std::uint64_t>(pages_); }

Registers NativeProcessor::run(std::span<const std::uint8_t> instruction, const Registers& regs) {
  // After the instruction: JMP through the eight bytes behind it.
  static constexpr std::uint8_t jump[]{0xff, 0x25, 0, 0, 0, 0};
  auto* const back = &pinfold_native_return;
  std::memcpy(pages_, instruction.data(), instruction.size());
  std::memcpy(pages_ + instruction.size(), jump, sizeof(jump));
  std::memcpy(pages_ + instruction.size() + sizeof(jump), &back, sizeof(back));

  PinfoldNativeFrame frame{};
  std::memcpy(frame.gpr, regs.gpr.data(), sizeof(frame.gpr));
  frame.flags = regs.rflags;
  pinfold_native_code = pages_;
  pinfold_native_run(&frame);

  Registers after;
  std::memcpy(after.gpr.data(), frame.gpr, sizeof(frame.gpr));
  after.rflags = frame.flags;
  return after;
}

}  // namespace pinfold::vmm::test
