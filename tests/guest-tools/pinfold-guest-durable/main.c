// usage: pinfold-guest-durable DEVICE FIRST
// Mounts the ext4 file system on DEVICE and writes numbered records to it, from FIRST on, without end: each
// of `record_bytes` bytes at its place in the file `records`, then fdatasync. Every `file_every`th record
// also makes a file of its own in the folder `files`. After all of that is on the disk, prints "durable
// NUMBER". Meanwhile another process changes files without waiting for the disk, so that there is always
// something to lose. Ends with 1 when a call fails, as it does when the disk does.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { record_bytes = 256, file_every = 4, scratch_files = 16 };
static const char* const root = "/tmp/durable";

static int check(int result, const char* what) {
  if (result >= 0) return result;
  perror(what);
  exit(1);
}

// What record NUMBER is; tests/harness/durable.py computes the same.
static void fill(char record[record_bytes], unsigned number) {
  memset(record, 'a' + (int)(number % 26), record_bytes);
  record[snprintf(record, record_bytes, "record %010u", number)] = ' ';
  record[record_bytes - 1] = '\n';
}

static void write_record(int records, unsigned number) {
  char record[record_bytes];
  fill(record, number);
  const ssize_t written = pwrite(records, record, sizeof record, (off_t)number * record_bytes);
  check(written == (ssize_t)sizeof record ? 0 : -1, "write a record");
  check(fdatasync(records), "fdatasync");
}

static void make_file(int folder, unsigned number) {
  char name[16];
  snprintf(name, sizeof name, "%u", number);
  const int file = check(openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC, 0600), name);
  check((int)write(file, name, strlen(name)), "write a file");
  check(fsync(file), "fsync of a file");
  close(file);
  check(fsync(folder), "fsync of a folder");
}

// Makes, renames and removes files, and never waits for the disk.
static void disturb(void) {
  static char bytes[16384];
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (unsigned i = 0;; ++i) {
    char name[64], other[64];
    snprintf(name, sizeof name, "scratch-%u", i % scratch_files);
    snprintf(other, sizeof other, "scratch-%u", (i * 7 + 3) % scratch_files);
    const int file = open(name, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (file < 0) _exit(0);
    memset(bytes, (int)i, sizeof bytes);
    if (write(file, bytes, 1 + i * 769 % sizeof bytes) < 0) _exit(0);
    close(file);
    if (i % 3 == 0) rename(name, other);
    if (i % 5 == 0) unlink(other);
    usleep(1000);
  }
}

int main(int count, char** words) {
  if (count != 3) {
    fputs("usage: pinfold-guest-durable DEVICE FIRST\n", stderr);
    return 2;
  }
  mkdir(root, 0700);
  check(mount(words[1], root, "ext4", 0, NULL), words[1]);
  check(chdir(root), root);
  mkdir("files", 0700);
  const int records = check(open("records", O_RDWR | O_CREAT, 0600), "records");
  const int files = check(open("files", O_RDONLY | O_DIRECTORY), "files");
  if (check(fork(), "fork") == 0) disturb();
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (unsigned number = (unsigned)strtoul(words[2], NULL, 10);; ++number) {
    write_record(records, number);
    if (number % file_every == 0) make_file(files, number);
    printf("durable %u\n", number);
  }
}
