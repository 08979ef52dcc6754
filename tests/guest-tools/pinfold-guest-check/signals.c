// Exceptions become the right signals, with the right addresses, on the right stack; timers interrupt.
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

#include "check.h"

static sigjmp_buf after_signal;
static volatile sig_atomic_t seen_signal, seen_code, seen_trap;
static volatile uintptr_t seen_address, seen_rip, seen_stack;

static void on_signal(int signal, siginfo_t* info, void* context) {
  const ucontext_t* user = context;
  char here;
  seen_signal = signal;
  seen_code = info->si_code;
  seen_address = (uintptr_t)info->si_addr;
  seen_trap = (int)user->uc_mcontext.gregs[REG_TRAPNO];
  seen_rip = (uintptr_t)user->uc_mcontext.gregs[REG_RIP];
  seen_stack = (uintptr_t)&here;
  siglongjmp(after_signal, 1);
}

static void divide_by_zero(void) {
  asm volatile("xor %%ecx, %%ecx; mov $1, %%eax; xor %%edx, %%edx; div %%ecx" ::: "eax", "ecx", "edx");
}
static void undefined(void) { asm volatile("ud2"); }
static void breakpoint(void) { asm volatile("int3"); }
static void privileged(void) { asm volatile("hlt"); }
static void not_canonical(void) { asm volatile("mov (%0), %%rax" ::"r"(0x8000000000000000u) : "rax"); }
static void null_page(void) { asm volatile("movb $1, (%0)" ::"r"(0x10ul) : "memory"); }
static void kernel_address(void) { asm volatile("mov (%0), %%rax" ::"r"(0xffff888000000000u) : "rax"); }
// The end of Xen's range. At its beginning is the machine-to-phys table, which programs may read, too.
static void monitor_address(void) { asm volatile("mov (%0), %%rax" ::"r"(0xffff87fffffff000u) : "rax"); }

// Each faulting instruction with the signal, trap number and address that Linux reports on bare hardware.
static const struct {
  const char* name;
  void (*provoke)(void);
  int signal, trap;
  uintptr_t address;
} exceptions[] = {
    {"#DE", divide_by_zero, SIGFPE, 0, 0},
    {"#BP", breakpoint, SIGTRAP, 3, 0},
    {"#UD", undefined, SIGILL, 6, 0},
    {"#GP, hlt", privileged, SIGSEGV, 13, 0},
    {"#GP, not canonical", not_canonical, SIGSEGV, 13, 0},
    {"#PF, null page", null_page, SIGSEGV, 14, 0x10},
    {"#PF, kernel", kernel_address, SIGSEGV, 14, 0xffff888000000000u},
    {"#PF, monitor", monitor_address, SIGSEGV, 14, 0xffff87fffffff000u},
};
enum { exception_count = sizeof exceptions / sizeof *exceptions };

static void catch_all(int flags) {
  struct sigaction handler = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | flags};
  const int signals[] = {SIGFPE, SIGTRAP, SIGILL, SIGSEGV, SIGBUS};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; ++i) sigaction(signals[i], &handler, NULL);
}

static void default_all(void) {
  const int signals[] = {SIGFPE, SIGTRAP, SIGILL, SIGSEGV, SIGBUS};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; ++i) signal(signals[i], SIG_DFL);
}

bool check_faults(void) {
  catch_all(0);
  for (volatile int round = 0; round < 50; ++round) {
    for (volatile size_t i = 0; i < exception_count; ++i) {
      seen_signal = 0;
      if (sigsetjmp(after_signal, 1) == 0) exceptions[i].provoke();
      REQUIRE(seen_signal == exceptions[i].signal && seen_trap == exceptions[i].trap,
              "%s: signal %d, trap %d; not %d, %d", exceptions[i].name, seen_signal, seen_trap,
              exceptions[i].signal, exceptions[i].trap);
      // An address above the user's half may be hidden. All others are exact.
      REQUIRE(exceptions[i].trap != 14 || seen_address == exceptions[i].address, "%s: address %#lx",
              exceptions[i].name, (unsigned long)seen_address);
      uintptr_t code = (uintptr_t)exceptions[i].provoke;
      REQUIRE(seen_rip >= code && seen_rip < code + 64, "%s: at %#lx, not in %#lx", exceptions[i].name,
              (unsigned long)seen_rip, (unsigned long)code);
    }
  }
  default_all();
  return holds("%d kinds", (int)exception_count);
}

bool check_alternate_stack(void) {
  enum { size = 64 * 1024 };
  char* stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(stack != MAP_FAILED, "mmap: %m");
  stack_t alternate = {.ss_sp = stack, .ss_size = size}, none = {.ss_flags = SS_DISABLE};
  REQUIRE(sigaltstack(&alternate, NULL) == 0, "sigaltstack: %m");
  catch_all(SA_ONSTACK);
  for (volatile int i = 0; i < 100; ++i) {
    seen_signal = 0;
    // The stack pointer can't be used, and the handler must not need it.
    if (sigsetjmp(after_signal, 1) == 0) asm volatile("mov $8, %%rsp; push %%rax" ::: "memory");
    REQUIRE(seen_signal == SIGSEGV && seen_address == 0, "signal %d at %#lx", seen_signal,
            (unsigned long)seen_address);
    REQUIRE(seen_stack - (uintptr_t)stack < size, "the handler ran on %#lx", (unsigned long)seen_stack);
  }
  default_all();
  sigaltstack(&none, NULL);
  munmap(stack, size);
  return holds("100 faults without a stack");
}

static volatile sig_atomic_t ticks;
static void on_tick(int signal) { (void)signal, ++ticks; }

// An interval timer interrupts a computation without calls, and its registers keep their values.
bool check_timer_signal(void) {
  struct sigaction handler = {.sa_handler = on_tick, .sa_flags = SA_RESTART}, old;
  sigaction(SIGALRM, &handler, &old);
  struct itimerval interval = {{0, 10000}, {0, 10000}}, off = {0};
  ticks = 0;
  REQUIRE(setitimer(ITIMER_REAL, &interval, NULL) == 0, "setitimer: %m");
  time_t limit = time(NULL) + 20;
  while (ticks < 20 && time(NULL) < limit) {
    uint64_t count = 3000000, sum = 0;
    asm volatile("1: add %0, %1; dec %0; jnz 1b" : "+r"(count), "+r"(sum));
    if (sum != 3000000ull * 3000001 / 2) {
      setitimer(ITIMER_REAL, &off, NULL);
      return fails("a loop's registers changed: sum %llu", (unsigned long long)sum);
    }
  }
  setitimer(ITIMER_REAL, &off, NULL);
  REQUIRE(ticks >= 20, "%d ticks of 10 ms in 20 s", ticks);
  sigaction(SIGALRM, &old, NULL);
  return holds("20 ticks of 10 ms");
}
