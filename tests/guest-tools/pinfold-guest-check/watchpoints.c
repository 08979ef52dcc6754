// A debugger's watchpoints, set in another process by ptrace.
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { stores = 3, on_store_of_8_bytes = 9, dr3_enabled = 1 << 6 };

static volatile uint64_t watched;

static void store_three_times(void) {
  ptrace(PTRACE_TRACEME, 0, NULL, NULL);
  raise(SIGSTOP);
  for (int i = 1; i <= stores; ++i) watched = (uint64_t)i;
  _exit(0);
}

static bool poke(pid_t child, int number, unsigned long value) {
  const size_t offset = offsetof(struct user, u_debugreg) + (size_t)number * sizeof(unsigned long);
  return ptrace(PTRACE_POKEUSER, child, offset, value) == 0;
}

static unsigned long peek(pid_t child, int number) {
  const size_t offset = offsetof(struct user, u_debugreg) + (size_t)number * sizeof(unsigned long);
  return (unsigned long)ptrace(PTRACE_PEEKUSER, child, offset, NULL);
}

// The child's stops after its first one. Each has to be DR3's.
static bool count_hits(pid_t child, int* hits, int* status) {
  for (*hits = 0;; ++*hits) {
    REQUIRE(ptrace(PTRACE_CONT, child, NULL, NULL) == 0, "PTRACE_CONT: %m");
    REQUIRE(waitpid(child, status, 0) == child, "waitpid: %m");
    if (!WIFSTOPPED(*status)) return true;
    REQUIRE(WSTOPSIG(*status) == SIGTRAP, "stopped by signal %d", WSTOPSIG(*status));
    const unsigned long causes = peek(child, 6);
    REQUIRE((causes & 0xf) == 8, "DR6 is %#lx", causes);
    REQUIRE(poke(child, 6, 0), "DR6: %m");
  }
}

bool check_watchpoints(void) {
  const pid_t child = fork();
  REQUIRE(child >= 0, "fork: %m");
  if (child == 0) store_three_times();
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child && WIFSTOPPED(status), "the child did not stop");
  REQUIRE(poke(child, 3, (unsigned long)&watched), "DR3: %m");
  REQUIRE(poke(child, 7, dr3_enabled | (unsigned long)on_store_of_8_bytes << 28), "DR7: %m");
  int hits = 0;
  if (!count_hits(child, &hits, &status)) return false;
  REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with status 0x%x",
          (unsigned)status);
  REQUIRE(hits == stores, "%d of %d stores were hits", hits, stores);
  watched = stores;  // this process is not watched
  return holds("%d stores, %d hits", stores, hits);
}
