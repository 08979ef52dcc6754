// usage: pinfold-guest-time echo | lateness SAMPLES echo: answers each line of stdin with `time NS`, the
// guest's monotonic clock, which the host compares with its own. An empty line ends it. lateness: sleeps
// SAMPLES times, for 1 to 5 ms each, and prints how much too late it was woken: `lateness: p10 p50 p90
// p99 p99.9 max`, in ns.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int echo(void) {
  char line[80];
  while (fgets(line, sizeof line, stdin) && line[0] != '\n') {
    printf("time %lld\n", (long long)now());
    fflush(stdout);
  }
  return 0;
}

static int by_value(const void* a, const void* b) {
  const int64_t x = *(const int64_t*)a, y = *(const int64_t*)b;
  return (x > y) - (x < y);
}

static int lateness(int samples) {
  int64_t* late = calloc((size_t)samples, sizeof *late);
  if (!late) return 1;
  for (int i = 0; i < samples; ++i) {
    const int64_t until = now() + 1000000 + (int64_t)(rand() % 4000000);
    const struct timespec t = {until / 1000000000, until % 1000000000};
    if (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0) return 1;
    late[i] = now() - until;
  }
  qsort(late, (size_t)samples, sizeof *late, by_value);
  const double shares[] = {0.1, 0.5, 0.9, 0.99, 0.999, 1};
  printf("lateness:");
  for (size_t i = 0; i < sizeof shares / sizeof *shares; ++i)
    printf(" %lld", (long long)late[(int)(shares[i] * (samples - 1))]);
  printf("\n");
  return late[0] < 0;  // a timer that fires early
}

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "echo") == 0) return echo();
  if (argc == 3 && strcmp(argv[1], "lateness") == 0 && atoi(argv[2]) > 0) return lateness(atoi(argv[2]));
  fprintf(stderr, "usage: pinfold-guest-time echo | lateness SAMPLES\n");
  return 2;
}
