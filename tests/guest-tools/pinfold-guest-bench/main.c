// usage: pinfold-guest-bench [NAME...] Times the operations that differ most between a PV guest and bare
// hardware. Prints `bench NAME: median MIN..MAX ns, median MIN..MAX ticks`, from many repetitions, by the
// guest's monotonic clock and by the TSC. With scripts/rig the TSC counts instructions.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { page = 4096, mapped_pages = 64, most_samples = 400 };

static int to_child[2], to_parent[2];
static char *fresh, *fresh_end;

static void getppid_once(void) { syscall(SYS_getppid); }

static void wait_for(pid_t child) {
  if (child < 0 || waitpid(child, NULL, 0) != child) abort();
}

static void fork_exit(void) {
  pid_t child = fork();
  if (child == 0) _exit(0);
  wait_for(child);
}

static void fork_exec(void) {
  pid_t child = fork();
  if (child == 0) {
    execl("/proc/self/exe", "pinfold-guest-bench", "--exit", (char*)NULL);
    _exit(1);
  }
  wait_for(child);
}

static void map_touch_unmap(void) {
  char* memory = mmap(NULL, mapped_pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) abort();
  for (int i = 0; i < mapped_pages; ++i) memory[i * page] = 1;
  munmap(memory, mapped_pages * page);
}

// Accesses the next page of a region. At the end of the region it begins with a new one.
static void page_fault(void) {
  if (fresh == fresh_end) abort();
  *(volatile char*)fresh = 1;
  fresh += page;
}

static void ping_pong(void) {
  char byte = 0;
  if (write(to_child[1], &byte, 1) != 1 || read(to_parent[0], &byte, 1) != 1) abort();
}

static void start_ping_pong(void) {
  if (pipe(to_child) != 0 || pipe(to_parent) != 0) abort();
  if (fork() != 0) return;
  close(to_child[1]);
  char byte;
  while (read(to_child[0], &byte, 1) == 1 && write(to_parent[1], &byte, 1) == 1) continue;
  _exit(0);
}

static void start_page_fault(void) {
  const size_t size = 2ul * most_samples * page;
  fresh = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (fresh == MAP_FAILED) abort();
  fresh_end = fresh + size;
}

// A short operation is timed `batch` times at once.
static const struct {
  const char* name;
  void (*start)(void);
  void (*run)(void);
  int samples, batch;
} benches[] = {
    {"getppid", NULL, getppid_once, 400, 50},
    {"page-fault", start_page_fault, page_fault, 400, 1},
    {"pipe-ping-pong", start_ping_pong, ping_pong, 400, 1},
    {"mmap-touch-munmap-64", NULL, map_touch_unmap, 100, 1},
    {"fork-exit", NULL, fork_exit, 100, 1},
    {"fork-exec", NULL, fork_exec, 50, 1},
};
enum { bench_count = sizeof benches / sizeof *benches };

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int compare(const void* a, const void* b) {
  int64_t x = *(const int64_t*)a, y = *(const int64_t*)b;
  return (x > y) - (x < y);
}

static void print_spread(int64_t* values, int count, const char* unit) {
  qsort(values, (size_t)count, sizeof *values, compare);
  printf(" %lld %lld..%lld %s", (long long)values[count / 2], (long long)values[0],
         (long long)values[count - 1], unit);
}

static void measure(int which) {
  int64_t times[most_samples], ticks[most_samples];
  const int samples = benches[which].samples, batch = benches[which].batch;
  if (benches[which].start) benches[which].start();
  for (int i = 0; i < 3; ++i) benches[which].run();
  for (int i = 0; i < samples; ++i) {
    int64_t before = now(), first_tick = (int64_t)__builtin_ia32_rdtsc();
    for (int j = 0; j < batch; ++j) benches[which].run();
    ticks[i] = ((int64_t)__builtin_ia32_rdtsc() - first_tick) / batch;
    times[i] = (now() - before) / batch;
  }
  printf("bench %s:", benches[which].name);
  print_spread(times, samples, "ns,");
  print_spread(ticks, samples, "ticks\n");
  fflush(stdout);
}

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "--exit") == 0) return 0;
  // Without huge pages, which a PV guest does not have: each page fault is to be for 4 KiB.
  if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0) perror("pinfold-guest-bench: huge pages stay");
  for (int i = 0; i < bench_count; ++i) {
    int wanted = argc == 1;
    for (int j = 1; j < argc; ++j) wanted |= strcmp(argv[j], benches[i].name) == 0;
    if (wanted) measure(i);
  }
  return 0;
}
