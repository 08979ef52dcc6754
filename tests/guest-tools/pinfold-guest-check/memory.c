// Mappings keep their contents, protections hold, and processes do not see each other's writes.
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static sigjmp_buf after_fault;
static volatile uintptr_t fault_address;

static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  fault_address = (uintptr_t)info->si_addr;
  siglongjmp(after_fault, 1);
}

// Does a one-byte access fault at exactly this address? It writes `value`, or reads if that is negative.
static bool faults_at(volatile unsigned char* address, int value) {
  fault_address = 0;
  if (sigsetjmp(after_fault, 1) == 0) {
    if (value < 0)
      (void)*address;
    else
      *address = (unsigned char)value;
    return false;
  }
  return fault_address == (uintptr_t)address;
}

static uint64_t pattern(size_t index) { return (index + 1) * 0x9e3779b97f4a7c15u; }

// The first and last words of a page have its number.
static void stamp(unsigned char* memory, size_t index) {
  uint64_t value = pattern(index);
  memcpy(memory + index * page, &value, sizeof value);
  memcpy(memory + index * page + page - sizeof value, &value, sizeof value);
}

static bool stamped(const unsigned char* memory, size_t index) {
  uint64_t value = pattern(index);
  return memcmp(memory + index * page, &value, sizeof value) == 0 &&
         memcmp(memory + index * page + page - sizeof value, &value, sizeof value) == 0;
}

// The first page in [from, to) with a wrong number, or `to`.
static size_t first_unstamped(const unsigned char* memory, size_t from, size_t to) {
  while (from < to && stamped(memory, from)) ++from;
  return from;
}

bool check_memory(void) {
  const size_t pages = megabytes * (1 << 20) / page, third = pages / 3;
  struct sigaction handler = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, old;
  sigaction(SIGSEGV, &handler, &old);
  unsigned char* memory =
      mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED, "mmap of %zu MB: %m", megabytes);
  for (size_t i = 0; i < pages; ++i) {
    REQUIRE(memory[i * page + 100] == 0, "page %zu is not zero when new", i);
    stamp(memory, i);
  }
  REQUIRE(first_unstamped(memory, 0, pages) == pages, "a page lost its content");

  // The middle third becomes read-only, then inaccessible, then writable again.
  unsigned char* middle = memory + third * page;
  REQUIRE(mprotect(middle, third * page, PROT_READ) == 0, "mprotect: %m");
  for (size_t i = 0; i < third; i += third / 64 + 1)
    REQUIRE(faults_at(middle + i * page + 5, 1), "a write to read-only page %zu did not fault there", i);
  REQUIRE(first_unstamped(memory, 0, pages) == pages, "a protected page lost its content");
  REQUIRE(mprotect(middle, third * page, PROT_NONE) == 0, "mprotect: %m");
  for (size_t i = 0; i < third; i += third / 64 + 1)
    REQUIRE(faults_at(middle + i * page + 5, -1), "a read of inaccessible page %zu did not fault there", i);
  REQUIRE(mprotect(middle, third * page, PROT_READ | PROT_WRITE) == 0, "mprotect: %m");
  for (size_t i = 0; i < third; ++i) middle[i * page + 64] = 1;
  REQUIRE(first_unstamped(memory, 0, pages) == pages, "a page lost its content when unprotected");

  // It faults when it is unmapped, and is zero when it is mapped again. Its neighbours keep their contents.
  REQUIRE(munmap(middle, third * page) == 0, "munmap: %m");
  REQUIRE(faults_at(middle + 7, -1) && faults_at(middle + (third - 1) * page, -1),
          "an unmapped page can be read");
  REQUIRE(mmap(middle, page * third, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
               0) == middle,
          "mmap: %m");
  for (size_t i = 0; i < third; i += 16)
    REQUIRE(middle[i * page + 64] == 0, "page %zu mapped anew is not zero", i);
  REQUIRE(first_unstamped(memory, 0, third) == third && first_unstamped(memory, 2 * third, pages) == pages,
          "a page beside an unmapped one lost its content");
  REQUIRE(munmap(memory, pages * page) == 0, "munmap: %m");
  REQUIRE(faults_at(memory, -1), "an unmapped page can be read");
  sigaction(SIGSEGV, &old, NULL);
  return holds("%zu MB", megabytes);
}

static unsigned char* shared_pages;
enum { cow_pages = 1024 };

// The child sees the parent's values, writes its own, and sees those.
static int write_own_values(int unused) {
  (void)unused;
  for (size_t i = 0; i < cow_pages; ++i)
    if (shared_pages[i * page] != (unsigned char)i) return 1;
  for (size_t i = 0; i < cow_pages; ++i) shared_pages[i * page] = (unsigned char)(i + 100);
  for (size_t i = 0; i < cow_pages; ++i)
    if (shared_pages[i * page] != (unsigned char)(i + 100)) return 2;
  return 0;
}

bool check_copy_on_write(void) {
  shared_pages = mmap(NULL, cow_pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(shared_pages != MAP_FAILED, "mmap: %m");
  for (size_t i = 0; i < cow_pages; ++i) shared_pages[i * page] = (unsigned char)i;
  if (!in_processes(3, write_own_values)) return false;
  for (size_t i = 0; i < cow_pages; ++i)
    REQUIRE(shared_pages[i * page] == (unsigned char)i, "page %zu shows what a child wrote", i);

  // The other way around: the parent writes while a child has the old values.
  int go[2];
  REQUIRE(pipe(go) == 0, "pipe: %m");
  pid_t child = fork();
  REQUIRE(child >= 0, "fork: %m");
  if (child == 0) {
    char byte;
    if (read(go[0], &byte, 1) != 1) _exit(3);
    _exit(write_own_values(0));
  }
  for (size_t i = 0; i < cow_pages; ++i) shared_pages[i * page] = (unsigned char)(i + 50);
  REQUIRE(write(go[1], "", 1) == 1, "write: %m");
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child && status == 0,
          "a child saw what its parent wrote (status 0x%x)", (unsigned)status);
  for (size_t i = 0; i < cow_pages; ++i)
    REQUIRE(shared_pages[i * page] == (unsigned char)(i + 50), "page %zu shows what a child wrote", i);
  close(go[0]);
  close(go[1]);
  munmap(shared_pages, cow_pages * page);
  return holds("%d pages, 4 processes", cow_pages);
}

static const unsigned char* hashed;
static size_t hashed_size;
static int digest_pipe[2];

static int send_digest(int unused) {
  (void)unused;
  char hex[65];
  sha256(hashed, hashed_size, hex);
  return write(digest_pipe[1], hex, sizeof hex) == (ssize_t)sizeof hex ? 0 : 1;
}

// Two processes compute digests of the same half of the allowed memory at the same time.
bool check_sha256(void) {
  char hex[65], other[65];
  sha256("abc", 3, hex);
  REQUIRE(strcmp(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") == 0,
          "of \"abc\": %s", hex);
  hashed_size = megabytes / 2 << 20;
  unsigned char* data = mmap(NULL, hashed_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(data != MAP_FAILED, "mmap: %m");
  uint64_t state = 1;
  for (size_t i = 0; i < hashed_size; i += sizeof state) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    memcpy(data + i, &state, sizeof state);
  }
  hashed = data;
  REQUIRE(pipe(digest_pipe) == 0, "pipe: %m");
  if (!in_processes(2, send_digest)) return false;
  REQUIRE(read(digest_pipe[0], hex, sizeof hex) == (ssize_t)sizeof hex, "read: %m");
  REQUIRE(read(digest_pipe[0], other, sizeof other) == (ssize_t)sizeof other, "read: %m");
  REQUIRE(strcmp(hex, other) == 0, "%zu MB: once %.16s..., once %.16s...", megabytes / 2, hex, other);
  munmap(data, hashed_size);
  return holds("%zu MB twice %s", megabytes / 2, hex);
}
