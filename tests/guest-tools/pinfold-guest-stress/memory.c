// Processes map, fill, protect, move, fork and unmap, and check that each page has what they stored.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "parts.h"

enum { workers = 8, page = 4096, most_pages = 96 };

static uint64_t next(uint64_t* random) {
  *random ^= *random << 13, *random ^= *random >> 7, *random ^= *random << 17;
  return *random;
}

static void fill(char* at, size_t pages, uint64_t seed) {
  for (size_t i = 0; i < pages; ++i) {
    uint64_t* words = (uint64_t*)(at + i * page);
    words[0] = words[511] = seed + i;
  }
}
static bool holds(const char* at, size_t pages, uint64_t seed) {
  for (size_t i = 0; i < pages; ++i) {
    const uint64_t* words = (const uint64_t*)(at + i * page);
    if (words[0] != seed + i || words[511] != seed + i) return false;
  }
  return true;
}

// A child sees what its parent stored. Its own stores do not change the parent's pages.
static bool forked(char* at, size_t pages, uint64_t seed) {
  const pid_t child = fork();
  if (child == 0) {
    const bool good = holds(at, pages, seed);
    fill(at, pages, ~seed);
    _exit(good && holds(at, pages, ~seed) ? 0 : 1);
  }
  fill(at, pages / 2, seed);
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0 && holds(at, pages, seed);
}

static bool round_of(uint64_t* random) {
  size_t pages = 1 + next(random) % most_pages;
  const uint64_t seed = next(random);
  char* at = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return false;
  fill(at, pages, seed);
  if (mprotect(at, pages * page, PROT_READ) != 0 || !holds(at, pages, seed)) return false;
  if (mprotect(at, pages * page, PROT_READ | PROT_WRITE) != 0) return false;
  if (next(random) % 4 == 0 && !forked(at, pages, seed)) return false;
  // The mapping moves and grows, and its new end is empty. Then it gets a hole.
  const size_t grown = pages + 1 + next(random) % 32;
  char* moved = mremap(at, pages * page, grown * page, MREMAP_MAYMOVE);
  if (moved == MAP_FAILED || !holds(moved, pages, seed)) return false;
  for (size_t i = pages; i < grown; ++i)
    if (*(uint64_t*)(moved + i * page) != 0) return false;
  const size_t hole = next(random) % pages;
  if (munmap(moved + hole * page, page) != 0 || !holds(moved, hole, seed)) return false;
  return munmap(moved, grown * page) == 0;
}

static void work(uint64_t seed, int result) {
  uint64_t rounds = 0, random = 88172645463325252ULL + seed;
  while (time_left()) {
    if (!round_of(&random)) _exit(1);
    ++rounds;
  }
  _exit(write(result, &rounds, sizeof rounds) == sizeof rounds ? 0 : 1);
}

bool stress_memory(void) {
  int result[2];
  if (pipe(result) != 0) return false;
  for (uint64_t i = 0; i < workers; ++i)
    if (fork() == 0) work(i, result[1]);
  close(result[1]);
  uint64_t rounds = 0, sum = 0;
  int answers = 0;
  while (read(result[0], &rounds, sizeof rounds) == sizeof rounds) sum += rounds, ++answers;
  while (wait(NULL) > 0) continue;
  return report("memory", answers == workers, "rounds", sum);
}
