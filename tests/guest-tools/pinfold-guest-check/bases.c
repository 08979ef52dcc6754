// Programs that set their segment bases by instructions (FSGSBASE). Each thread keeps its own over system
// calls, switches, signals and moves to other processors; a debugger reads and changes them. While FS is not
// libc's, nothing of libc runs.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { threads = 4, rounds = 600, fsgsbase_offered = 1 << 1 /* HWCAP2_FSGSBASE */ };

static volatile int signals_taken, signals_wrong;

static uint64_t read_fs(void) {
  uint64_t base;
  asm volatile("rdfsbase %0" : "=r"(base));
  return base;
}
static uint64_t read_gs(void) {
  uint64_t base;
  asm volatile("rdgsbase %0" : "=r"(base));
  return base;
}
static void write_fs(uint64_t base) { asm volatile("wrfsbase %0" ::"r"(base) : "memory"); }
static void write_gs(uint64_t base) { asm volatile("wrgsbase %0" ::"r"(base) : "memory"); }

static long raw_call(long number, long a, long b, const void* c) {
  long result;
  asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return result;
}

// Has bases of its own for a while. They are the interrupted thread's again when it returns.
__attribute__((no_stack_protector)) static void on_timer(int signal) {
  (void)signal;
  const uint64_t fs = read_fs(), gs = read_gs();
  write_fs(0x5555000);
  write_gs(0x6666000);
  raw_call(SYS_sched_yield, 0, 0, NULL);
  if (read_fs() != 0x5555000 || read_gs() != 0x6666000) signals_wrong = 1;
  write_fs(fs);
  write_gs(gs);
  ++signals_taken;
}

// Returns what was wrong first, or NULL.
__attribute__((no_stack_protector)) static const char* keep_bases(uint64_t mine, long processors) {
  const char* wrong = NULL;
  const uint64_t libcs = read_fs();
  for (uint64_t round = 0; round < rounds && !wrong; ++round) {
    const uint64_t fs = mine << 32 | round << 12, gs = fs ^ 0x7fff00000000;
    write_fs(fs);
    write_gs(gs);
    if (round % 3 == 0) raw_call(SYS_sched_yield, 0, 0, NULL);
    if (round % 16 == 0) {
      const uint64_t set = 1ULL << ((mine + round / 16) % (uint64_t)processors);
      raw_call(SYS_sched_setaffinity, 0, sizeof set, &set);
    }
    if (read_fs() != fs) wrong = "the FS base changed";
    if (read_gs() != gs) wrong = "the GS base changed";
  }
  write_fs(libcs);
  write_gs(0);
  return wrong;
}

static void* thread_body(void* argument) {
  return (void*)keep_bases((uint64_t)(uintptr_t)argument + 1, sysconf(_SC_NPROCESSORS_ONLN));
}

static bool in_threads_under_signals(void) {
  struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &action, NULL);
  const struct itimerval often = {{0, 20000}, {0, 20000}}, never = {{0, 0}, {0, 0}};
  pthread_t ids[threads];
  setitimer(ITIMER_REAL, &often, NULL);
  for (uintptr_t i = 0; i < threads; ++i)
    REQUIRE(pthread_create(&ids[i], NULL, thread_body, (void*)i) == 0, "pthread_create");
  bool verdict = true;
  for (int i = 0; i < threads; ++i) {
    void* result = NULL;
    pthread_join(ids[i], &result);
    if (verdict && result) verdict = fails("thread %d: %s", i, (const char*)result);
  }
  setitimer(ITIMER_REAL, &never, NULL);
  if (!verdict) return false;
  REQUIRE(!signals_wrong, "a signal's handler lost its bases");
  return true;
}

// The debugger finds the child's GS base, and the child the one that the debugger sets.
static bool under_a_debugger(void) {
  const pid_t child = fork();
  REQUIRE(child >= 0, "fork: %m");
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    write_gs(0x1234000);
    raise(SIGSTOP);
    _exit(read_gs() == 0x4321000 ? 0 : 1);
  }
  int status = 0;
  struct user_regs_struct registers;
  REQUIRE(waitpid(child, &status, 0) == child && WIFSTOPPED(status), "the child did not stop");
  REQUIRE(ptrace(PTRACE_GETREGS, child, NULL, &registers) == 0, "PTRACE_GETREGS: %m");
  REQUIRE(registers.gs_base == 0x1234000, "the child's GS base reads as %#llx", registers.gs_base);
  registers.gs_base = 0x4321000;
  REQUIRE(ptrace(PTRACE_SETREGS, child, NULL, &registers) == 0, "PTRACE_SETREGS: %m");
  REQUIRE(ptrace(PTRACE_CONT, child, NULL, NULL) == 0, "PTRACE_CONT: %m");
  REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status), "the child did not end");
  REQUIRE(WEXITSTATUS(status) == 0, "the debugger's GS base did not arrive");
  return true;
}

bool check_bases(void) {
  if ((getauxval(AT_HWCAP2) & fsgsbase_offered) == 0) return holds("FSGSBASE is not offered");
  if (!in_threads_under_signals() || !under_a_debugger()) return false;
  return holds("%d threads, %d rounds, %s", threads, rounds, signals_taken ? "signals" : "no signal");
}
