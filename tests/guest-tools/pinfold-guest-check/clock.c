// The clock that programs read without a system call agrees with the kernel's, never goes back,
// and has the host's rate.
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static int64_t nanoseconds(struct timespec t) { return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec; }

static int64_t by_vdso(clockid_t clock) {
  struct timespec t;
  return clock_gettime(clock, &t) == 0 ? nanoseconds(t) : -1;
}

static int64_t by_syscall(clockid_t clock) {
  struct timespec t;
  return syscall(SYS_clock_gettime, clock, &t) == 0 ? nanoseconds(t) : -1;
}

static const char* clock_source(void) {
  static char name[32];
  FILE* file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "r");
  if (!file || !fgets(name, sizeof name, file)) strcpy(name, "unknown");
  if (file) fclose(file);
  name[strcspn(name, "\n")] = 0;
  return name;
}

bool check_clock(void) {
  enum { rounds = 20000 };
  const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME};
  REQUIRE(getauxval(AT_SYSINFO_EHDR) != 0, "the kernel offers no vDSO");
  for (int c = 0; c < 2; ++c) {
    int64_t last = by_vdso(clocks[c]);
    for (int i = 0; i < rounds; ++i) {
      int64_t now = i % 4 ? by_vdso(clocks[c]) : by_syscall(clocks[c]);
      REQUIRE(now >= last, "clock %d went back by %lld ns between two readings", (int)clocks[c],
              (long long)(last - now));
      last = now;
    }
  }
  // A sleep takes the requested time, and not seconds more.
  int64_t before = by_vdso(CLOCK_MONOTONIC);
  nanosleep(&(struct timespec){0, 200000000}, NULL);
  int64_t slept = by_syscall(CLOCK_MONOTONIC) - before;
  REQUIRE(slept >= 200000000 && slept < 2000000000, "a sleep of 200 ms took %lld ms",
          (long long)slept / 1000000);
  return holds("source %s, %d readings", clock_source(), 2 * rounds);
}

static void marker(const char* which) {
  printf("clock: %s vdso %lld syscall %lld realtime %lld\n", which, (long long)by_vdso(CLOCK_MONOTONIC),
         (long long)by_syscall(CLOCK_MONOTONIC), (long long)by_vdso(CLOCK_REALTIME));
  fflush(stdout);
}

// Prints the clocks' values in ns twice, 5 s apart by the guest's clock: 3 s asleep, 2 s reading the clock.
void run_clock_markers(void) {
  const int64_t second = 1000000000, start = by_vdso(CLOCK_MONOTONIC);
  marker("start");
  nanosleep(&(struct timespec){3, 0}, NULL);
  while (by_vdso(CLOCK_MONOTONIC) < start + 5 * second) continue;
  marker("stop");
}
