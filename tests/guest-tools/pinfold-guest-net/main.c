// usage: pinfold-guest-net [OPTION...] ADDRESS PORT send|receive MEGABYTES
//        pinfold-guest-net serve ADDRESS PORT
// Sends so many bytes to the server at ADDRESS, or receives as many from it, and prints one line of JSON:
// operation, bytes, nanoseconds, and the packets that the interface sent and received meanwhile. The server
// serves until it is killed, one client at a time. IPv4.
//   -u            by UDP: the sender does not wait for the receiver, and what is lost is lost. Else by TCP
//   -b BYTES      in each system call, or each datagram (default 65536, or 1400 by UDP)
//   -i ADDRESS    first gives this address (of 24 bits of network) to eth0, and counts its packets
//   -p            print {"begin":true} first, and pause after this line and before the other, so that whoever
//   reads them can
//                 read a counter at both
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { most_block = 1 << 20 };

// What a client asks for. Both ends have the same byte order.
struct job {
  uint64_t bytes;
  uint32_t block;
  uint16_t by_udp, to_server;
};

static char buffer[most_block];

static void fail(const char* what) {
  perror(what);
  exit(1);
}

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct sockaddr_in address_of(const char* text, const char* port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  if (inet_pton(AF_INET, text, &address.sin_addr) != 1) {
    fprintf(stderr, "%s is no IPv4 address\n", text);
    exit(2);
  }
  return address;
}

// -- the two ways of data

// 0: the other end is gone.
static int send_all(int fd, uint64_t bytes, uint32_t block) {
  while (bytes != 0) {
    const ssize_t n = send(fd, buffer, bytes < block ? bytes : block, MSG_NOSIGNAL);
    if (n <= 0) return 0;
    bytes -= (uint64_t)n;
  }
  return 1;
}
static int receive_all(int fd, uint64_t bytes, uint32_t block) {
  while (bytes != 0) {
    const ssize_t n = recv(fd, buffer, bytes < block ? bytes : block, 0);
    if (n <= 0) return 0;
    bytes -= (uint64_t)n;
  }
  return 1;
}

static void blast(int udp, const struct sockaddr_in* to, uint64_t bytes, uint32_t block) {
  for (uint64_t n = 0; n < bytes / block; ++n)
    while (sendto(udp, buffer, block, 0, (const struct sockaddr*)to, sizeof *to) < 0)
      if (errno != ENOBUFS && errno != EINTR) return;
}
// Until something comes by `control`, and all that has arrived by then. The number of bytes; when the last
// one came.
static uint64_t collect(int udp, int control, uint64_t* last) {
  uint64_t got = 0;
  struct pollfd both[] = {{.fd = udp, .events = POLLIN}, {.fd = control, .events = POLLIN}};
  for (int is_over = 0;;) {
    const int ready = poll(both, is_over ? 1 : 2, is_over ? 100 : -1);
    if (ready < 0 && errno != EINTR) fail("poll");
    if (is_over && ready == 0) return got;
    if ((both[0].revents & POLLIN) != 0) {
      ssize_t n = 0;
      while ((n = recv(udp, buffer, sizeof buffer, MSG_DONTWAIT)) > 0) got += (uint64_t)n;
      *last = now();
    }
    is_over = is_over || both[1].revents != 0;
  }
}

// -- the server

static void serve_client(int client, int udp) {
  struct job job;
  struct sockaddr_in from;
  socklen_t size = sizeof from;
  char hello = 0, done = 1;
  if (recv(client, &job, sizeof job, MSG_WAITALL) != sizeof job || job.block == 0 || job.block > most_block)
    return;
  int is_done = 0;
  if (!job.by_udp) {
    is_done =
        job.to_server ? receive_all(client, job.bytes, job.block) : send_all(client, job.bytes, job.block);
  } else if (job.to_server) {
    is_done = 1;
    uint64_t last = 0;
    (void)collect(udp, client, &last);
  } else if (recvfrom(udp, &hello, 1, 0, (struct sockaddr*)&from, &size) == 1) {
    is_done = 1;
    blast(udp, &from, job.bytes, job.block);
  }
  if (is_done) (void)send(client, &done, 1, MSG_NOSIGNAL);
}

_Noreturn static void serve(const char* text, const char* port) {
  const struct sockaddr_in address = address_of(text, port);
  const int listener = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
  const struct timeval patience = {.tv_sec = 10};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(udp, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (bind(listener, (const struct sockaddr*)&address, sizeof address) != 0 || listen(listener, 8) != 0 ||
      bind(udp, (const struct sockaddr*)&address, sizeof address) != 0)
    fail(text);
  for (;;) {
    const int client = accept(listener, NULL, NULL);
    if (client < 0) continue;
    serve_client(client, udp);
    close(client);
  }
}

// -- the client

static void set_up(const char* text) {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct ifreq request = {.ifr_name = "eth0"};
  struct sockaddr_in address = address_of(text, "0");
  memcpy(&request.ifr_addr, &address, sizeof address);
  if (ioctl(fd, SIOCSIFADDR, &request) != 0) fail("eth0");
  inet_pton(AF_INET, "255.255.255.0", &address.sin_addr);
  memcpy(&request.ifr_netmask, &address, sizeof address);
  if (ioctl(fd, SIOCSIFNETMASK, &request) != 0) fail("eth0");
  if (ioctl(fd, SIOCGIFFLAGS, &request) != 0) fail("eth0");
  request.ifr_flags |= IFF_UP;
  if (ioctl(fd, SIOCSIFFLAGS, &request) != 0) fail("eth0");
  close(fd);
}

// What eth0 has done so far (proc(5), /proc/net/dev).
struct packets {
  uint64_t sent, received;
};
static struct packets packets(void) {
  struct packets all = {0, 0};
  char line[512];
  FILE* file = fopen("/proc/net/dev", "r");
  while (file != NULL && fgets(line, sizeof line, file) != NULL)
    if (sscanf(line, " eth0: %*u %" SCNu64 " %*u %*u %*u %*u %*u %*u %*u %" SCNu64, &all.received,
               &all.sent) == 2)
      break;
  if (file != NULL) fclose(file);
  return all;
}

// The interface's queues may need a moment until they carry frames.
static int connect_to(const struct sockaddr_in* server) {
  for (int tries = 0; tries < 50; ++tries) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (const struct sockaddr*)server, sizeof *server) == 0) return fd;
    close(fd);
    usleep(200000);
  }
  fail("connect");
  return -1;
}

// The bytes that arrived at the receiver, as far as this end knows; when it was over.
static uint64_t transfer(const struct job* job, const struct sockaddr_in* server, int control, int udp,
                         uint64_t* end) {
  char done = 0;
  if (send(control, job, sizeof *job, MSG_NOSIGNAL) != sizeof *job) fail("send");
  if (job->by_udp && job->to_server) {
    blast(udp, server, job->bytes, job->block);
    shutdown(control, SHUT_WR);
  } else if (job->by_udp) {
    if (sendto(udp, &done, 1, 0, (const struct sockaddr*)server, sizeof *server) != 1) fail("sendto");
    return collect(udp, control, end);
  } else if (!(job->to_server ? send_all(control, job->bytes, job->block)
                              : receive_all(control, job->bytes, job->block))) {
    fail("transfer");
  }
  if (recv(control, &done, 1, 0) != 1) fail("the end");
  *end = now();
  return job->bytes;
}

static void pause_for_readers(void) {
  fflush(stdout);
  usleep(200000);
}

static int usage(void) {
  fprintf(stderr,
          "usage: pinfold-guest-net [-p] [-u] [-b BYTES] [-i ADDRESS] ADDRESS PORT send|receive MEGABYTES\n"
          "       pinfold-guest-net serve ADDRESS PORT\n");
  return 2;
}

int main(int argc, char** argv) {
  if (argc == 4 && strcmp(argv[1], "serve") == 0) serve(argv[2], argv[3]);
  struct job job = {.block = 0};
  int pauses = 0, option;
  while ((option = getopt(argc, argv, "pub:i:")) != -1) {
    if (option == 'p')
      pauses = 1;
    else if (option == 'u')
      job.by_udp = 1;
    else if (option == 'b')
      job.block = (uint32_t)strtoul(optarg, NULL, 10);
    else if (option == 'i')
      set_up(optarg);
    else
      return usage();
  }
  if (argc - optind != 4) return usage();
  const char* const operation = argv[optind + 2];
  if (strcmp(operation, "send") != 0 && strcmp(operation, "receive") != 0) return usage();
  if (job.block == 0) job.block = job.by_udp ? 1400 : 65536;
  if (job.block > most_block) return usage();
  job.to_server = operation[0] == 's';
  job.bytes = strtoull(argv[optind + 3], NULL, 10) << 20;
  const struct sockaddr_in server = address_of(argv[optind], argv[optind + 1]);
  const int control = connect_to(&server), udp = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
  setsockopt(control, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (pauses) {
    puts("{\"begin\":true}");
    pause_for_readers();
  }
  const struct packets before = packets();
  const uint64_t start = now();
  uint64_t end = 0;
  const uint64_t bytes = transfer(&job, &server, control, udp, &end);
  const struct packets after = packets();
  if (pauses) pause_for_readers();
  printf("{\"operation\":\"%s-%s\",\"bytes\":%" PRIu64 ",\"ns\":%" PRIu64 ",\"sent\":%" PRIu64
         ",\"received\":%" PRIu64 "}\n",
         job.by_udp ? "udp" : "tcp", operation, bytes, end - start, after.sent - before.sent,
         after.received - before.received);
  return 0;
}
