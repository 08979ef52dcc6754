// Processes are created, execute programs, and communicate.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

// The executed program: it ends with the requested exit code.
int exec_child(int code) { return code; }

bool check_fork_exec(void) {
  const int rounds = megabytes < 100 ? 200 : 1000;
  for (int i = 0; i < rounds; ++i) {
    int code = i % 120;
    pid_t child = fork();
    REQUIRE(child >= 0, "fork %d: %m", i);
    if (child == 0) {
      char argument[16];
      snprintf(argument, sizeof argument, "%d", code);
      execl("/proc/self/exe", "pinfold-guest-check", "--child", argument, (char*)NULL);
      _exit(121);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child, "waitpid %d: %m", i);
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == code,
            "process %d ended with status 0x%x, not code %d", i, (unsigned)status, code);
  }
  return holds("%d processes", rounds);
}

static int to_child[2], to_parent[2];

// Sends back each number plus one.
static int echo_numbers(int unused) {
  (void)unused;
  close(to_child[1]);
  for (int number; read(to_child[0], &number, sizeof number) == (ssize_t)sizeof number;) {
    ++number;
    if (write(to_parent[1], &number, sizeof number) != (ssize_t)sizeof number) return 1;
  }
  return 0;
}

bool check_pipe(void) {
  enum { rounds = 2000 };
  REQUIRE(pipe(to_child) == 0 && pipe(to_parent) == 0, "pipe: %m");
  pid_t child = fork();
  REQUIRE(child >= 0, "fork: %m");
  if (child == 0) _exit(echo_numbers(0));
  close(to_child[0]);
  close(to_parent[1]);
  for (int i = 0; i < rounds; ++i) {
    int number = 3 * i, answer = 0;
    REQUIRE(write(to_child[1], &number, sizeof number) == (ssize_t)sizeof number, "write: %m");
    REQUIRE(read(to_parent[0], &answer, sizeof answer) == (ssize_t)sizeof answer, "read: %m");
    REQUIRE(answer == number + 1, "round %d: sent %d, got %d", i, number, answer);
  }
  close(to_child[1]);
  close(to_parent[0]);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child && status == 0, "the other end ended with status 0x%x",
          (unsigned)status);
  return holds("%d round trips", rounds);
}
