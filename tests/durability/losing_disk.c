// usage: losing_disk [-s SEED] BACKING FOLDER
// A disk whose power can fail: mounts, at FOLDER, a file system (FUSE) with one file, `disk`, which has the
// size and content of the file BACKING. Writes stay in memory; fsync and fdatasync write them to BACKING. So
// a kill -9 of this program loses every write that was not flushed.
// With -s, SIGUSR1 lets the power fail the way it does for disks with caches: of the sectors that were not
// flushed, some are written all the same, in any order. SEED decides which.
// Runs in the foreground, prints "ready" when the disk can be used, and ends when FOLDER is unmounted.
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { sector = 512, disk_inode = 2 };

// Requests come one at a time (fuse_session_loop), so nothing here needs a lock.
static int backing;
static size_t size;
static uint8_t* content;  // As the disk's users see it.
static uint8_t* dirty;    // A byte for each sector: written, and not flushed.
static uint64_t chance;   // State of the random generator; 0 without -s.

static void fail(const char* what) {
  perror(what);
  exit(1);
}

static bool write_sector(size_t number) {
  const off_t at = (off_t)(number * sector);
  return pwrite(backing, content + at, sector, at) == sector;
}

static bool flush(void) {
  for (size_t i = 0; i < size / sector; ++i) {
    if (!dirty[i]) continue;
    if (!write_sector(i)) return false;
    dirty[i] = 0;
  }
  return true;
}

static bool toss(void) {
  chance ^= chance << 13;
  chance ^= chance >> 7;
  chance ^= chance << 17;
  return chance >> 63;
}

// The handler may interrupt a flush: which of its sectors are on disk by then is chance anyway.
static void power_fails(int signal_number) {
  (void)signal_number;
  for (size_t i = 0; chance && i < size / sector; ++i)
    if (dirty[i] && toss()) write_sector(i);
  _exit(0);
}

static bool describe(fuse_ino_t inode, struct stat* is) {
  memset(is, 0, sizeof *is);
  is->st_ino = inode;
  is->st_nlink = 1;
  is->st_mode = inode == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0600;
  is->st_size = inode == disk_inode ? (off_t)size : 0;
  is->st_uid = getuid();
  is->st_gid = getgid();
  return inode == FUSE_ROOT_ID || inode == disk_inode;
}

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  struct fuse_entry_param entry = {.ino = disk_inode, .attr_timeout = 3600, .entry_timeout = 3600};
  if (parent != FUSE_ROOT_ID || strcmp(name, "disk") != 0 || !describe(disk_inode, &entry.attr))
    fuse_reply_err(request, ENOENT);
  else
    fuse_reply_entry(request, &entry);
}

static void on_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info* file) {
  struct stat is;
  (void)file;
  if (describe(inode, &is))
    fuse_reply_attr(request, &is, 3600);
  else
    fuse_reply_err(request, ENOENT);
}

static void on_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info* file) {
  if (inode != disk_inode) {
    fuse_reply_err(request, EISDIR);
    return;
  }
  file->direct_io = 1;  // No page cache of the host's between the disk and its user.
  fuse_reply_open(request, file);
}

static void on_read(fuse_req_t request, fuse_ino_t inode, size_t bytes, off_t at,
                    struct fuse_file_info* file) {
  (void)inode, (void)file;
  const size_t left = (size_t)at < size ? size - (size_t)at : 0;
  fuse_reply_buf(request, (const char*)content + at, bytes < left ? bytes : left);
}

static void on_write(fuse_req_t request, fuse_ino_t inode, const char* from, size_t bytes, off_t at,
                     struct fuse_file_info* file) {
  (void)inode, (void)file;
  if ((size_t)at > size || bytes > size - (size_t)at) {
    fuse_reply_err(request, ENOSPC);
    return;
  }
  memcpy(content + at, from, bytes);
  for (size_t i = (size_t)at / sector; i * sector < (size_t)at + bytes; ++i) dirty[i] = 1;
  fuse_reply_write(request, bytes);
}

static void on_fsync(fuse_req_t request, fuse_ino_t inode, int data_only, struct fuse_file_info* file) {
  (void)inode, (void)data_only, (void)file;
  fuse_reply_err(request, flush() ? 0 : EIO);
}

// Closing a file is no flush, as on any disk.
static const struct fuse_lowlevel_ops operations = {
    .lookup = on_lookup,
    .getattr = on_getattr,
    .open = on_open,
    .read = on_read,
    .write = on_write,
    .fsync = on_fsync,
};

static void load(const char* name) {
  struct stat is;
  backing = open(name, O_RDWR | O_CLOEXEC);
  if (backing < 0 || fstat(backing, &is) != 0) fail(name);
  size = (size_t)is.st_size / sector * sector;
  content = malloc(size);
  dirty = calloc(size / sector, 1);
  if (!content || !dirty) fail("memory");
  for (size_t got = 0; got < size;) {
    const ssize_t part = pread(backing, content + got, size - got, (off_t)got);
    if (part <= 0) fail(name);
    got += (size_t)part;
  }
}

static int serve(const char* folder) {
  char* words[] = {"losing_disk", "-o", "fsname=losing_disk,allow_other"};
  struct fuse_args arguments = FUSE_ARGS_INIT(3, words);
  struct fuse_session* session = fuse_session_new(&arguments, &operations, sizeof operations, NULL);
  if (!session || fuse_session_mount(session, folder) != 0) return 1;
  puts("ready");
  fflush(stdout);
  const int status = fuse_session_loop(session);
  fuse_session_unmount(session);
  fuse_session_destroy(session);
  return status != 0;
}

int main(int count, char** words) {
  int option;
  while ((option = getopt(count, words, "s:")) != -1) {
    if (option != 's') return 2;
    chance = strtoull(optarg, NULL, 0) * 0x9e3779b97f4a7c15u | 1;
  }
  if (count - optind != 2) {
    fputs("usage: losing_disk [-s SEED] BACKING FOLDER\n", stderr);
    return 2;
  }
  load(words[optind]);
  signal(SIGUSR1, power_fails);
  return serve(words[optind + 1]);
}
