// A debugger can step through a process, and stop it at an instruction of its choice.
#define _GNU_SOURCE
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

// Code with known instructions and addresses, with a system call.
extern const char traced_start[], traced_middle[], traced_end[];
uint64_t traced_code(void);
asm(".text\n.globl traced_code, traced_start, traced_middle, traced_end\n.type traced_code, @function\n"
    "traced_code: int3\n"
    "traced_start: xor %eax, %eax\n"
    "inc %rax\n"
    "add $9, %rax\n"
    "traced_middle: imul $10, %rax, %rdi\n"
    "mov $39, %eax\n"  // getpid
    "syscall\n"
    "lea 1(%rdi), %rax\n"
    "traced_end: ret\n");
enum { traced_instructions = 7, traced_result = 101 };

// Starts a traced process, which stops behind the int3 of traced_code. 0 on failure.
static pid_t start_traced(void) {
  pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    _exit((int)traced_code());
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return 0;
  return WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP ? child : 0;
}

static uintptr_t instruction_pointer(pid_t child) {
  struct user_regs_struct registers = {0};
  ptrace(PTRACE_GETREGS, child, NULL, &registers);
  return registers.rip;
}

// Lets the child end. Did it return what the code computes?
static bool ends_rightly(pid_t child) {
  int status = 0;
  ptrace(PTRACE_CONT, child, NULL, NULL);
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == traced_result;
}

bool check_single_step(void) {
  pid_t child = start_traced();
  REQUIRE(child != 0, "int3 did not stop a traced process");
  REQUIRE(instruction_pointer(child) == (uintptr_t)traced_start, "stopped at %#lx, not behind the int3",
          (unsigned long)instruction_pointer(child));
  int steps = 0;
  for (uintptr_t last = 0, at; (at = instruction_pointer(child)) != (uintptr_t)traced_end;
       last = at, ++steps) {
    REQUIRE(at > last && at < (uintptr_t)traced_end && steps < traced_instructions, "step %d led to %#lx",
            steps, (unsigned long)at);
    int status = 0;
    ptrace(PTRACE_SINGLESTEP, child, NULL, NULL);
    REQUIRE(waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP,
            "step %d: status 0x%x", steps, (unsigned)status);
  }
  REQUIRE(steps == traced_instructions, "%d steps for %d instructions", steps, traced_instructions);
  REQUIRE(ends_rightly(child), "the process computed something else");
  return holds("%d instructions", steps);
}

bool check_breakpoint(void) {
  pid_t child = start_traced();
  REQUIRE(child != 0, "int3 did not stop a traced process");
  void* where = (void*)(uintptr_t)traced_middle;
  long code = ptrace(PTRACE_PEEKTEXT, child, where, NULL);
  REQUIRE(ptrace(PTRACE_POKETEXT, child, where, (void*)((code & ~0xffl) | 0xcc)) == 0, "POKETEXT: %m");
  int status = 0;
  ptrace(PTRACE_CONT, child, NULL, NULL);
  REQUIRE(waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP,
          "status 0x%x", (unsigned)status);
  struct user_regs_struct registers;
  ptrace(PTRACE_GETREGS, child, NULL, &registers);
  REQUIRE(registers.rip == (uintptr_t)where + 1 && registers.rax == 10, "stopped at %#llx with rax %llu",
          registers.rip, registers.rax);
  ptrace(PTRACE_POKETEXT, child, where, (void*)code);
  registers.rip = (uintptr_t)where;
  ptrace(PTRACE_SETREGS, child, NULL, &registers);
  REQUIRE(ends_rightly(child), "the process computed something else");
  return holds("set, hit, removed");
}
