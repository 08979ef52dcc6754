// Threads keep their segment bases and descriptors while threads with other ones run.
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

enum { threads = 4, rounds = 2000 };

static __thread uint64_t own[64];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t counter;

// True if every thread's body returns NULL. Otherwise the report names the first that does not.
static bool in_threads(void* (*body)(void*)) {
  pthread_t ids[threads];
  for (uintptr_t i = 0; i < threads; ++i)
    REQUIRE(pthread_create(&ids[i], NULL, body, (void*)i) == 0, "pthread_create");
  bool verdict = true;
  for (int i = 0; i < threads; ++i) {
    void* result = NULL;
    pthread_join(ids[i], &result);
    if (verdict && result) verdict = fails("thread %d: %s", i, (const char*)result);
  }
  return verdict;
}

static void* keep_thread_locals(void* argument) {
  uint64_t mine = (uint64_t)(uintptr_t)argument + 1;
  unsigned long base = 0, later = 0;
  syscall(SYS_arch_prctl, ARCH_GET_FS, &base);
  for (size_t i = 0; i < 64; ++i) own[i] = mine << 32 | i;
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < 64; ++i)
      if (own[i] != (mine << 32 | i)) return "a thread-local variable changed";
    pthread_mutex_lock(&lock);
    ++counter;
    pthread_mutex_unlock(&lock);
    sched_yield();
  }
  syscall(SYS_arch_prctl, ARCH_GET_FS, &later);
  return base == later && base != 0 ? NULL : "the FS base changed";
}

bool check_threads(void) {
  counter = 0;
  if (!in_threads(keep_thread_locals)) return false;
  REQUIRE(counter == threads * rounds, "%llu increments under a lock", (unsigned long long)counter);
  return holds("%d threads, %d rounds", threads, rounds);
}

static uint64_t through_gs(void) {
  uint64_t value;
  asm volatile("mov %%gs:8, %0" : "=r"(value));
  return value;
}

static void* keep_gs_base(void* argument) {
  uint64_t mine[2] = {0, 0x1000 + (uint64_t)(uintptr_t)argument};
  if (syscall(SYS_arch_prctl, ARCH_SET_GS, mine) != 0) return "arch_prctl refused the GS base";
  for (int round = 0; round < rounds; ++round) {
    if (through_gs() != mine[1]) return "the GS base is another thread's";
    if (round % 4) sched_yield();
  }
  unsigned long base = 0;
  syscall(SYS_arch_prctl, ARCH_GET_GS, &base);
  return base == (uintptr_t)mine ? NULL : "the kernel reports another GS base";
}

bool check_gs_base(void) {
  return in_threads(keep_gs_base) && holds("%d threads, %d rounds", threads, rounds);
}

// Each process has one LDT entry, with another base. Its selector is loaded into GS.
static int keep_ldt(int process) {
  static uint32_t value[4];
  uint32_t* low = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  if (low == MAP_FAILED) return 1;
  low[2] = value[2] = 0x2000u + (uint32_t)process;
  struct user_desc entry = {.entry_number = (unsigned)process,
                            .base_addr = (unsigned)(uintptr_t)low,
                            .limit = page - 1,
                            .seg_32bit = 1,
                            .useable = 1};
  if (syscall(SYS_modify_ldt, 0x11, &entry, sizeof entry) != 0) return 2;
  asm volatile("mov %0, %%gs" ::"r"((uint16_t)(process << 3 | 7)));
  for (int round = 0; round < rounds / 10; ++round) {
    if ((uint32_t)through_gs() != value[2]) return 3;
    sched_yield();
  }
  return 0;
}

bool check_ldt(void) { return in_processes(4, keep_ldt) && holds("4 processes"); }
