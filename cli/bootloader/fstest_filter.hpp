// The system calls that grub-fstest may make: the only ones that a file system's maker can reach through it.
#pragma once

#include <linux/filter.h>

#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

namespace pinfold::cli::bootloader {

/// The descriptors that the filter names. They are closed when the program is executed.
struct FilterDescriptors {
  int program;  ///< May be executed (execveat(2)).
  int parent;   ///< May send a message (sendmsg(2)).
};

/// A seccomp filter in which openat(2) is a question to another process. The program can open nothing by
/// itself, and can't start, signal or see any process.
class FstestFilter {
 public:
  /// An error is a reason why this host has no such sandbox.
  [[nodiscard]] static tl::expected<FstestFilter, std::string> make(const FilterDescriptors& descriptors);

  /// For the calling process, for good; with it, no new privileges. Returns the descriptor at which its
  /// questions arrive, or -1 with errno. It may be called after fork(2) in a process that had threads.
  [[nodiscard]] int load() const;

 private:
  explicit FstestFilter(std::vector<sock_filter> program) : program_(std::move(program)) {}

  std::vector<sock_filter> program_;
};

}  // namespace pinfold::cli::bootloader
