// usage: pinfold-guest-disk [OPTION...] FILE read|write|verify MEGABYTES
// Reads or writes the first MEGABYTES of a disk or file, past the page cache. `write` fills each block with a
// pattern of its place and the seed, and flushes at the end; `verify` reads it and says which block is not as
// written. Requests that are done are replaced by as many new ones in one system call.
//   -b BYTES   of a request (default 65536)
//   -q DEPTH   requests that are on their way at a time (default 32)
//   -r         in an order that the seed decides
//   -s SEED    default 1
//   -n ROUNDS  do all this so often (default 1)
//   -p         print {"begin":true} first, and pause after this line and before the other, so that whoever
//              reads them can read a counter at both
// Prints one line of JSON: operation, rounds, and requests, bytes and nanoseconds of the fastest round. Exits
// with 1 if a request failed or a block is wrong.
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { most_depth = 256, alignment = 4096 };
enum operation { op_read, op_write, op_verify };

struct job {
  int fd;
  enum operation operation;
  size_t block;
  unsigned depth;
  uint64_t blocks, seed;
  uint64_t stride;  ///< Blocks are visited at multiples of it: 1, or prime to `blocks`.
};

struct slot {
  struct iocb request;
  uint64_t block;
  uint64_t* bytes;
};

static void fail(const char* what) {
  perror(what);
  exit(1);
}

// What a word of the disk has after `write`: every word differs, so that blocks that changed places are
// found.
static uint64_t word_at(uint64_t position, uint64_t seed) {
  uint64_t x = position + seed * 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

static void fill(const struct job* job, const struct slot* slot) {
  const uint64_t first = slot->block * (job->block / 8);
  for (size_t i = 0; i < job->block / 8; ++i) slot->bytes[i] = word_at(first + i, job->seed);
}

static int is_as_written(const struct job* job, const struct slot* slot) {
  const uint64_t first = slot->block * (job->block / 8);
  for (size_t i = 0; i < job->block / 8; ++i) {
    const uint64_t expected = word_at(first + i, job->seed);
    if (slot->bytes[i] == expected) continue;
    fprintf(stderr, "at byte %" PRIu64 ": %016" PRIx64 " instead of %016" PRIx64 "\n", (first + i) * 8,
            slot->bytes[i], expected);
    return 0;
  }
  return 1;
}

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b) {
  while (b != 0) {
    const uint64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

// A stride of about 0.6 of all blocks, which visits each block once.
static uint64_t stride_of(uint64_t blocks, uint64_t seed) {
  uint64_t stride = (uint64_t)((double)blocks * 0.618) + seed % 64 + 1;
  while (greatest_common_divisor(stride, blocks) != 1) ++stride;
  return stride;
}

static void prepare(const struct job* job, struct slot* slot, uint64_t number) {
  slot->block = (uint64_t)((unsigned __int128)number * job->stride % job->blocks);
  if (job->operation == op_write) fill(job, slot);
  memset(&slot->request, 0, sizeof slot->request);
  slot->request.aio_data = (uint64_t)(uintptr_t)slot;
  slot->request.aio_lio_opcode = job->operation == op_write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
  slot->request.aio_fildes = (uint32_t)job->fd;
  slot->request.aio_buf = (uint64_t)(uintptr_t)slot->bytes;
  slot->request.aio_nbytes = job->block;
  slot->request.aio_offset = (int64_t)(slot->block * job->block);
}

// In one system call, so that the disk sees one batch.
static void submit(aio_context_t context, struct iocb** requests, long count) {
  for (long done = 0; done < count;) {
    const long some = syscall(SYS_io_submit, context, count - done, requests + done);
    if (some < 1) fail("io_submit");
    done += some;
  }
}

static void check(const struct job* job, const struct io_event* event) {
  const struct slot* slot = (const struct slot*)(uintptr_t)event->data;
  if (event->res != (int64_t)job->block) {
    fprintf(stderr, "block %" PRIu64 ": %lld of %zu bytes\n", slot->block, (long long)event->res, job->block);
    exit(1);
  }
  if (job->operation == op_verify && !is_as_written(job, slot)) exit(1);
}

static struct slot slots[most_depth];

// Also touches it, so that no first touch is part of what is measured.
static void allocate(const struct job* job) {
  for (unsigned i = 0; i < job->depth; ++i) {
    if (posix_memalign((void**)&slots[i].bytes, alignment, job->block) != 0) fail("memory");
    memset(slots[i].bytes, 0, job->block);
  }
}

static void run(const struct job* job) {
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, job->depth, &context) != 0) fail("io_setup");
  struct iocb* requests[most_depth];
  uint64_t next = 0, done = 0;
  long ready = 0;
  for (unsigned i = 0; i < job->depth && next < job->blocks; ++i) {
    prepare(job, &slots[i], next++);
    requests[ready++] = &slots[i].request;
  }
  submit(context, requests, ready);
  while (done < job->blocks) {
    struct io_event events[most_depth];
    const long got = syscall(SYS_io_getevents, context, 1, (long)job->depth, events, NULL);
    if (got < 1) fail("io_getevents");
    ready = 0;
    for (long i = 0; i < got; ++i) {
      check(job, &events[i]);
      ++done;
      if (next >= job->blocks) continue;
      struct slot* slot = (struct slot*)(uintptr_t)events[i].data;
      prepare(job, slot, next++);
      requests[ready++] = &slot->request;
    }
    submit(context, requests, ready);
  }
  if (syscall(SYS_io_destroy, context) != 0) fail("io_destroy");
  if (job->operation == op_write && fdatasync(job->fd) != 0) fail("fdatasync");
}

static int usage(void) {
  fprintf(stderr,
          "usage: pinfold-guest-disk [-p] [-r] [-b BYTES] [-n ROUNDS] [-q DEPTH] [-s SEED] FILE "
          "read|write|verify MEGABYTES\n");
  return 2;
}

static void pause_for_readers(void) {
  const struct timespec time = {.tv_nsec = 200000000};
  fflush(stdout);
  nanosleep(&time, NULL);
}

int main(int argc, char** argv) {
  struct job job = {.block = 65536, .depth = 32, .stride = 1, .seed = 1};
  int scattered = 0, pauses = 0, rounds = 1, option;
  while ((option = getopt(argc, argv, "prb:n:q:s:")) != -1) {
    if (option == 'p')
      pauses = 1;
    else if (option == 'r')
      scattered = 1;
    else if (option == 'b')
      job.block = strtoul(optarg, NULL, 10);
    else if (option == 'n')
      rounds = atoi(optarg);
    else if (option == 'q')
      job.depth = (unsigned)strtoul(optarg, NULL, 10);
    else if (option == 's')
      job.seed = strtoul(optarg, NULL, 10);
    else
      return usage();
  }
  if (argc - optind != 3 || rounds < 1 || job.depth < 1 || job.depth > most_depth || job.block < 512 ||
      job.block % 512 != 0)
    return usage();
  const char *const names[] = {"read", "write", "verify"}, *name = argv[optind + 1];
  int found = 0;
  while (found < 3 && strcmp(name, names[found]) != 0) ++found;
  if (found == 3) return usage();
  job.operation = (enum operation)found;
  job.blocks = (strtoull(argv[optind + 2], NULL, 10) << 20) / job.block;
  if (job.blocks == 0) return usage();
  if (scattered) job.stride = stride_of(job.blocks, job.seed);
  job.fd = open(argv[optind], (job.operation == op_write ? O_RDWR : O_RDONLY) | O_DIRECT);
  if (job.fd < 0) fail(argv[optind]);

  allocate(&job);
  if (pauses) {
    puts("{\"begin\":true}");
    pause_for_readers();
  }
  uint64_t fastest = UINT64_MAX;
  for (int round = 0; round < rounds; ++round) {
    const uint64_t start = now();
    run(&job);
    const uint64_t passed = now() - start;
    if (passed < fastest) fastest = passed;
  }
  if (pauses) pause_for_readers();
  printf("{\"operation\":\"%s\",\"scattered\":%s,\"rounds\":%d,\"requests\":%" PRIu64 ",\"bytes\":%" PRIu64
         ",\"ns\":%" PRIu64 "}\n",
         name, scattered ? "true" : "false", rounds, job.blocks, job.blocks * job.block, fastest);
  return 0;
}
