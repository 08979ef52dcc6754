// TEST ONLY. What a guest that has taken over its monitor would try.
#pragma once

#include <span>

namespace hostile {

struct Attempt {
  const char* name;
  /// The result of the system call: -errno if it failed. Only what is safe in a signal's handler.
  long (*make)();
};

/// Each is a system call that the filters refuse.
[[nodiscard]] std::span<const Attempt> attempts();
/// What the layers behind the filters refuse. Without any layer they succeed, and do no harm.
[[nodiscard]] std::span<const Attempt> attempts_at_other_layers();

/// What the attempts act on: prepared before the monitor confines itself.
struct Targets {
  void* page = nullptr;          ///< Of memory, writable.
  int socket = -1;               ///< Not connected, of AF_UNIX.
  int tcp = -1;                  ///< Not connected, of AF_INET.
  int file = -1;                 ///< /etc/passwd, to read.
  int other = 0;                 ///< A process of the same user that is not the monitor.
  int other_by_descriptor = -1;  ///< pidfd_open(2) of it.
  const char* address = "";      ///< The path of another guest's socket.
};
extern Targets targets;

}  // namespace hostile
