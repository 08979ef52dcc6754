// Programs that a supervisor starts for a guest: helpers and scripts.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli {

/// How to start one.
struct ChildPlan {
  std::vector<std::string> words;  ///< The program, looked for in PATH, and its arguments.
  std::vector<std::pair<std::string, std::string>> environment;  ///< Added to this process's.
  std::vector<int> kept;                                         ///< Stay open under their numbers.
};

/// A child process. Its output is kept for error messages, as far as 4 KiB of it.
///
/// Concurrency: used by one thread, in a process that has no others.
class Child {
 public:
  /// The child has /dev/null as its input, no signal blocked, and gets SIGKILL when this process ends. An
  /// error is one line, such as for a program that is not installed.
  [[nodiscard]] static tl::expected<Child, std::string> start(const ChildPlan& plan);
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)), output_(std::move(other.output_)) {}
  Child& operator=(Child&&) = delete;
  /// Kills it, if it has not ended.
  ~Child();

  /// Its status as of waitpid(2), when it has ended. Only the first time.
  [[nodiscard]] std::optional<int> ended();
  /// The same, after at most `milliseconds`.
  [[nodiscard]] std::optional<int> wait(int milliseconds);
  /// The last line that it printed.
  [[nodiscard]] std::string last_line() const;

 private:
  Child(pid_t pid, vmm::Fd output) : pid_(pid), output_(std::move(output)) {}
  pid_t pid_;  ///< -1: it has ended.
  vmm::Fd output_;
};

/// "ended with status 1", "was killed by signal 9 (Killed)"
[[nodiscard]] std::string how_it_ended(int wait_status);
/// The same of one that ends by itself only when its work is done: with status 0, and by SIGTERM, too.
[[nodiscard]] std::string how_helper_ended(int wait_status);

}  // namespace pinfold::cli
