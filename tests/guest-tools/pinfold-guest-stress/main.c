// usage: pinfold-guest-stress [-p PAIRS] [-m MEGABYTES] SECONDS [NAME...] Stresses the guest's processors and
// page tables for a while, by all parts at the same time. Each part checks its results and prints `stress
// NAME: ok` or `stress NAME: FAILED`, and what it did. The parts: pipes (10 groups of PAIRS sending and as
// many receiving processes; default 2), memory (8 processes that map, fork, move, protect and unmap), protect
// (a thread stores while another one removes and restores write access), hotplug (processors go offline and
// online), sort (pipelines, for MEGABYTES of data; default 0).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "parts.h"

struct options options = {.pairs = 2};
static int64_t end_of_time;

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

bool time_left(void) { return now() < end_of_time; }

bool report(const char* name, bool good, const char* what, unsigned long long count) {
  // One write, so that lines of different parts do not mix.
  char line[200];
  int size =
      snprintf(line, sizeof line, "stress %s: %s, %llu %s\n", name, good ? "ok" : "FAILED", count, what);
  return write(STDOUT_FILENO, line, (size_t)size) == size && good;
}

static const struct {
  const char* name;
  bool (*run)(void);
} parts[] = {{"pipes", stress_pipes},
             {"memory", stress_memory},
             {"protect", stress_protect},
             {"hotplug", stress_hotplug},
             {"sort", stress_sort}};

static bool asked_for(int argc, char** argv, const char* name) {
  for (int i = optind + 1; i < argc; ++i)
    if (strcmp(argv[i], name) == 0) return true;
  return argc <= optind + 1;
}

int main(int argc, char** argv) {
  for (int option; (option = getopt(argc, argv, "p:m:")) != -1;) {
    if (option == 'p') options.pairs = atoi(optarg);
    if (option == 'm') options.sort_megabytes = (uint64_t)atoll(optarg);
  }
  if (optind >= argc || atoi(argv[optind]) <= 0 || options.pairs < 1 || options.pairs > most_pairs) {
    fprintf(stderr, "usage: pinfold-guest-stress [-p PAIRS, 1 to 20] [-m MEGABYTES] SECONDS [NAME...]\n");
    return 2;
  }
  end_of_time = now() + (int64_t)atoi(argv[optind]) * 1000000000;
  int failed = 0, started = 0;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i) {
    if (!asked_for(argc, argv, parts[i].name)) continue;
    const pid_t child = fork();
    if (child == 0) exit(parts[i].run() ? 0 : 1);
    if (child < 0) return 1;
    ++started;
  }
  for (int i = 0; i < started; ++i) {
    int status = 0;
    if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) ++failed;
  }
  printf("stress: %d parts, %d failed\n", started, failed);
  return failed != 0;
}
