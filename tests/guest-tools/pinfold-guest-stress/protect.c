// A thread stores into a page while it may, and another one removes and restores write access. After mprotect
// has returned, no store may reach the page: a processor that still used an old translation would make one.
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "parts.h"

enum { page = 4096, writers = 3 };

static volatile uint64_t* words;
static volatile bool stop;
static _Thread_local sigjmp_buf again;

static void on_fault(int signal) {
  (void)signal;
  siglongjmp(again, 1);
}

static void* store(void* number) {
  volatile uint64_t* const mine = words + (uintptr_t)number * 8;
  sigsetjmp(again, 1);
  while (!stop) ++*mine;
  return NULL;
}

bool stress_protect(void) {
  words = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (words == MAP_FAILED) return false;
  struct sigaction action = {.sa_handler = on_fault};
  sigaction(SIGSEGV, &action, NULL);
  pthread_t threads[writers];
  for (uintptr_t i = 0; i < writers; ++i)
    if (pthread_create(&threads[i], NULL, store, (void*)i) != 0) return false;

  uint64_t rounds = 0;
  bool good = true;
  while (time_left() && good) {
    if (mprotect((void*)words, page, PROT_READ) != 0) good = false;
    uint64_t before[writers];
    for (int i = 0; i < writers; ++i) before[i] = words[i * 8];
    if (rounds % 8 == 0)
      usleep(200);
    else
      for (volatile int i = 0; i < 2000; ++i) continue;
    for (int i = 0; i < writers; ++i) good = good && words[i * 8] == before[i];
    if (mprotect((void*)words, page, PROT_READ | PROT_WRITE) != 0) good = false;
    ++rounds;
    for (volatile int i = 0; i < 5000; ++i) continue;
  }
  mprotect((void*)words, page, PROT_READ | PROT_WRITE);
  stop = true;
  for (int i = 0; i < writers; ++i) pthread_join(threads[i], NULL);
  return report("protect", good, "withdrawals", rounds);
}
