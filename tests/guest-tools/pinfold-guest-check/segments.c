// Code segments that a program enters by itself, and faults in them: the return must load the same segment.
// The 32-bit code lies below 4 GiB, because the program is static; it needs a data segment in DS and uses no
// stack. Pushes stay out of the compiler's red zone.
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "check.h"

enum { user_cs32 = 0x23, user_cs64 = 0x33, marker = 0x5a5a1234 };

// Only the lower half of RSP survives 32-bit code.
__attribute__((used)) static uint64_t stack_kept;

static void* low_page(int protection) {
  return mmap(NULL, page, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
}

// Reads CS and a page that was never accessed, in the ABI's 32-bit segment.
bool check_compat_code(void) {
  uint32_t* fresh = low_page(PROT_READ | PROT_WRITE);
  REQUIRE(fresh != MAP_FAILED, "mmap: %m");
  uint64_t selector = 0, selector_after = 0;
  asm volatile(
      "movl $0x2b, %%eax\n\t"
      "movl %%eax, %%ds\n\t"
      "movq %%rsp, stack_kept\n\t"
      "leaq -128(%%rsp), %%rsp\n\t"
      "pushq $0x23\n\t"
      "leaq 1f(%%rip), %%rax\n\t"
      "pushq %%rax\n\t"
      "lretq\n"
      ".code32\n"
      "1: movl $0x5a5a1234, (%%edx)\n\t"
      "movl %%cs, %%ecx\n\t"
      "ljmp $0x33, $2f\n"
      ".code64\n"
      "2: movl %%cs, %%eax\n\t"
      "movq stack_kept, %%rsp\n\t"
      : "=c"(selector), "=&a"(selector_after)
      : "d"(fresh)
      : "memory", "cc");
  REQUIRE((uint32_t)selector == user_cs32, "CS is 0x%x in 32-bit code", (unsigned)selector);
  REQUIRE((uint32_t)selector_after == user_cs64, "CS is 0x%x behind it", (unsigned)selector_after);
  REQUIRE(*fresh == marker, "the store of 32-bit code is lost");
  munmap(fresh, page);
  return true;
}

// Stores to a page that was never accessed, in a code segment of the LDT whose base is not 0.
bool check_ldt_code(void) {
  uint32_t* fresh = low_page(PROT_READ | PROT_WRITE);
  uint8_t* code = low_page(PROT_READ | PROT_WRITE | PROT_EXEC);
  REQUIRE(fresh != MAP_FAILED && code != MAP_FAILED, "mmap: %m");
  struct user_desc entry = {.entry_number = 3,
                            .base_addr = (unsigned)(uintptr_t)code,
                            .limit = page - 1,
                            .seg_32bit = 1,
                            .contents = MODIFY_LDT_CONTENTS_CODE,
                            .useable = 1};
  REQUIRE(syscall(SYS_modify_ldt, 0x11, &entry, sizeof entry) == 0, "modify_ldt: %m");
  // movl $marker, (%edx); movl %cs, %ecx; ljmp $0x33, $back
  static const uint8_t text[] = {0xc7, 0x02, 0x34, 0x12, 0x5a, 0x5a,      0x8c, 0xc9,
                                 0xea, 0,    0,    0,    0,    user_cs64, 0};
  memcpy(code, text, sizeof text);
  uint64_t selector = 0;
  asm volatile(
      "movl $1f, 9(%%rbx)\n\t"
      "movl $0x2b, %%eax\n\t"
      "movl %%eax, %%ds\n\t"
      "movq %%rsp, stack_kept\n\t"
      "leaq -128(%%rsp), %%rsp\n\t"
      "pushq $0x1f\n\t"
      "pushq $0\n\t"
      "lretq\n"
      "1: movq stack_kept, %%rsp\n\t"
      : "=c"(selector)
      : "d"(fresh), "b"(code)
      : "rax", "memory", "cc");
  REQUIRE((uint32_t)selector == 0x1f, "CS is 0x%x", (unsigned)selector);
  REQUIRE(*fresh == marker, "the store is lost");
  return true;
}

static void return_to_nothing(int signal, siginfo_t* info, void* context) {
  (void)signal;
  (void)info;
  ucontext_t* user = context;
  greg_t* segments = &user->uc_mcontext.gregs[REG_CSGSFS];
  *segments = (*segments & ~(greg_t)0xffff) | 0x1237;
}

// A signal handler returns to a selector without a segment: this ends the process, and nothing else.
bool check_bad_selector(void) {
  pid_t child = fork();
  REQUIRE(child >= 0, "fork: %m");
  if (child == 0) {
    struct sigaction action = {.sa_sigaction = return_to_nothing, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child, "waitpid: %m");
  REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "the process ended with status 0x%x",
          (unsigned)status);
  return true;
}
