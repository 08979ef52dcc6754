// One end of a connection between two guests by Debian's libxenvchan: sends a stream of bytes while it
// receives the other end's, and prints a checksum of each.
//
//   vchan serve|call DOMAIN PATH BYTES [wait]
//
// DOMAIN is the other guest's number, PATH the store's node of the connection, BYTES how many go in each
// direction. An end with `wait` stays until the other one has ended, which it says; one without ends when all
// bytes have arrived at the other end.
#include <libxenvchan.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The rings: one within the first page that both share, one of pages of its own.
enum { smaller_ring = 1024, larger_ring = 65536, patience_seconds = 120 };

struct stream {
  uint64_t bytes;     // how many there are
  uint64_t done;      // how many have gone through
  uint64_t checksum;  // FNV-1a, 64 bits
};

static struct stream sent, received;
static uint64_t random_state;

static _Noreturn void die(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("vchan: ", stdout);
  vprintf(format, arguments);
  va_end(arguments);
  puts("");
  exit(1);
}

static void count(struct stream* stream, const unsigned char* data, size_t size) {
  stream->done += size;
  for (size_t i = 0; i < size; ++i) stream->checksum = (stream->checksum ^ data[i]) * 0x100000001b3;
}

static unsigned char next_byte(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state >> 32;
}

static size_t least(uint64_t a, size_t b) { return a < b ? a : b; }

// Sends what fits. What did not fit is tried first, the next time. Returns how much was sent.
static size_t send_some(struct libxenvchan* channel) {
  static unsigned char buffer[5000];
  static size_t first, end;
  if (first == end) {
    first = 0;
    end = least(sent.bytes - sent.done, sizeof buffer);
    for (size_t i = 0; i < end; ++i) buffer[i] = next_byte();
  }
  if (first == end) return 0;
  const int size = libxenvchan_write(channel, buffer + first, end - first);
  if (size < 0) die("can't send after %llu bytes", (unsigned long long)sent.done);
  count(&sent, buffer + first, size);
  first += size;
  return size;
}

static size_t receive_some(struct libxenvchan* channel) {
  static unsigned char buffer[3000];
  const size_t most = least(received.bytes - received.done, sizeof buffer);
  if (most == 0) return 0;
  const int size = libxenvchan_read(channel, buffer, most);
  if (size < 0) die("can't receive after %llu bytes", (unsigned long long)received.done);
  count(&received, buffer, size);
  return size;
}

static void exchange(struct libxenvchan* channel) {
  while (sent.done < sent.bytes || received.done < received.bytes)
    if (send_some(channel) + receive_some(channel) == 0) libxenvchan_wait(channel);
}

static struct libxenvchan* connection(int serves, int domain, const char* path) {
  if (serves) return libxenvchan_server_init(NULL, domain, path, smaller_ring, larger_ring);
  for (int attempt = 0; attempt < patience_seconds * 10; ++attempt, usleep(100000)) {
    struct libxenvchan* channel = libxenvchan_client_init(NULL, domain, path);
    if (channel != NULL) return channel;
  }
  return NULL;
}

int main(int count, char** words) {
  if (count < 5) die("usage: vchan serve|call DOMAIN PATH BYTES [wait]");
  const int serves = strcmp(words[1], "serve") == 0, waits = count > 5;
  setvbuf(stdout, NULL, _IOLBF, 0);
  sent.bytes = received.bytes = strtoull(words[4], NULL, 10);
  sent.checksum = received.checksum = 0xcbf29ce484222325;
  random_state = serves ? 0x5e57e5 : 0xca11e5;
  struct libxenvchan* channel = connection(serves, atoi(words[2]), words[3]);
  if (channel == NULL) die("no connection");
  channel->blocking = 0;
  while (libxenvchan_is_open(channel) == 2) libxenvchan_wait(channel);
  exchange(channel);
  printf("%s: sent %016llx received %016llx\n", words[1], (unsigned long long)sent.checksum,
         (unsigned long long)received.checksum);
  // What was sent last is still in the ring until the other end has taken it.
  channel->blocking = 1;
  const char last = 0;
  char others_last = 1;
  if (libxenvchan_send(channel, &last, 1) != 1 || libxenvchan_recv(channel, &others_last, 1) != 1)
    die("no end of the exchange");
  if (waits) {
    printf("%s: waits\n", words[1]);
    while (libxenvchan_is_open(channel) == 1) libxenvchan_wait(channel);
    printf("%s: the other end has gone\n", words[1]);
  }
  libxenvchan_close(channel);
  return 0;
}
