// Groups of equally many senders and receivers. Each sender sends messages to all receivers of its group,
// through pipes in one half of the groups and through sockets in the other. Each message has its sender and
// its number: none is lost, doubled or mixed up.
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "parts.h"

enum { groups = 10, message_words = 12 };

static void send_all(const int* to, uint64_t self) {
  uint64_t message[message_words];
  for (uint64_t n = 1; time_left(); ++n) {
    message[0] = self;
    for (int i = 1; i < message_words; ++i) message[i] = n;
    for (int i = 0; i < options.pairs; ++i)
      if (write(to[i], message, sizeof message) != sizeof message) _exit(1);
  }
  _exit(0);
}

// Reports to the parent how many messages arrived.
static void receive_all(int from, int result) {
  uint64_t message[message_words], last[most_pairs] = {0}, count = 0;
  ssize_t size;
  while ((size = read(from, message, sizeof message)) > 0) {
    if (size != sizeof message || message[0] >= (uint64_t)options.pairs || message[1] != ++last[message[0]])
      _exit(1);
    for (int i = 2; i < message_words; ++i)
      if (message[i] != message[1]) _exit(1);
    ++count;
  }
  _exit(write(result, &count, sizeof count) == sizeof count ? 0 : 1);
}

static bool start_group(int result, bool sockets) {
  const int pairs = options.pairs;
  int ends[most_pairs][2], to[most_pairs];
  for (int i = 0; i < pairs; ++i) {
    if ((sockets ? socketpair(AF_UNIX, SOCK_STREAM, 0, ends[i]) : pipe(ends[i])) != 0) return false;
    to[i] = ends[i][1];
  }
  for (int i = 0; i < pairs; ++i) {
    pid_t receiver = fork();
    if (receiver == 0) {
      for (int k = 0; k < pairs; ++k) {
        close(ends[k][1]);
        if (k != i) close(ends[k][0]);
      }
      receive_all(ends[i][0], result);
    }
    pid_t sender = fork();
    if (sender == 0) send_all(to, (uint64_t)i);
    if (receiver < 0 || sender < 0) return false;
  }
  for (int i = 0; i < pairs; ++i) close(ends[i][0]), close(ends[i][1]);
  return true;
}

bool stress_pipes(void) {
  int result[2];
  if (pipe(result) != 0) return false;
  bool good = true;
  for (int i = 0; i < groups; ++i) good = start_group(result[1], i % 2 != 0) && good;
  close(result[1]);
  uint64_t count = 0, sum = 0;
  int answers = 0;
  while (read(result[0], &count, sizeof count) == sizeof count) sum += count, ++answers;
  int status;
  while (wait(&status) > 0) good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return report("pipes", good && answers == groups * options.pairs, "messages", sum);
}
