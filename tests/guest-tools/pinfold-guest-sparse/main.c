// usage: pinfold-guest-sparse A program whose memory is mostly page tables: it accesses one byte in each 2
// MiB of a mapping that is larger than any memory, so that each page needs a table of its own. The kernel has
// to end it, and nothing else. Prints how far it got and that the guest goes on, and then exits with 0.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEP (2UL << 20)
#define MAPPING (16UL << 40)

static volatile unsigned long* touched;  // shared with the child

static void touch_until_killed(void) {
  FILE* score = fopen("/proc/self/oom_score_adj", "w");
  if (score != NULL) {
    fputs("1000", score);
    fclose(score);
  }
  char* memory =
      mmap(NULL, MAPPING, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    perror("sparse: mmap");
    _exit(1);
  }
  for (unsigned long at = 0; at < MAPPING; at += STEP) {
    memory[at] = 1;
    ++*touched;
  }
  _exit(2);
}

int main(void) {
  touched = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (touched == MAP_FAILED) return 1;
  for (int round = 1; round <= 2; ++round) {
    *touched = 0;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) touch_until_killed();
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) return 1;
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
      printf("sparse: round %d: FAILED: the program ended with status %#x after %lu pages\n", round,
             (unsigned)status, *touched);
      return 1;
    }
    printf("sparse: round %d: killed after %lu pages\n", round, *touched);
  }
  if (system("true") != 0) return 1;
  puts("sparse: ok");
  return 0;
}
