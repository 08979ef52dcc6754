// Pipelines of processes with much data, one for each processor: numbers are sorted backwards, compressed,
// decompressed and sorted, and must be the same as before. The pipelines end when the time is over and all of
// them together have processed the requested amount.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "parts.h"

enum { lines = 250000, bytes = lines * 9, most_workers = 128 };

// The n-th chunk: numbers of eight digits, whose numeric and alphabetic orders are the same.
static bool chunk(uint64_t n) {
  char pipeline[200];
  const uint64_t first = 10000000 + n * lines % 89000000;
  snprintf(pipeline, sizeof pipeline,
           "s='seq %llu %llu'; a=$($s | sha256sum); "
           "b=$($s | sort -r | gzip -1 | gunzip | sort | sha256sum); [ \"$a\" = \"$b\" ]",
           (unsigned long long)first, (unsigned long long)(first + lines - 1));
  return system(pipeline) == 0;
}

static void work(uint64_t self, uint64_t workers, uint64_t wanted, int result) {
  uint64_t done = 0;
  for (uint64_t n = self; time_left() || n * bytes < wanted; n += workers, ++done)
    if (!chunk(n)) _exit(1);
  _exit(write(result, &done, sizeof done) == sizeof done ? 0 : 1);
}

bool stress_sort(void) {
  const long processors = sysconf(_SC_NPROCESSORS_CONF);
  const uint64_t workers = processors < most_workers ? (uint64_t)processors : most_workers;
  int result[2];
  if (pipe(result) != 0) return false;
  for (uint64_t i = 0; i < workers; ++i)
    if (fork() == 0) work(i, workers, options.sort_megabytes * 1000000, result[1]);
  close(result[1]);
  uint64_t done = 0, sum = 0, answers = 0;
  while (read(result[0], &done, sizeof done) == sizeof done) sum += done, ++answers;
  while (wait(NULL) > 0) continue;
  return report("sort", answers == workers, "MB", sum * bytes / 1000000);
}
