// The system calls that a confined program may make: the only ones that a file system's or an image's maker
// can reach through it.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

namespace pinfold::cli::tools {

/// What a program needs besides its descriptors, its memory, and its end.
enum class ToolCalls : std::uint8_t {
  reads,   ///< Nothing. Files may be read for it (ServedFiles).
  serves,  ///< Threads, images that are written, and clients of a socket that it has (qemu-nbd, qemu-img).
};

/// With ToolCalls::reads, descriptors from here on are those of ServedFiles: read(2) and close(2) of them are
/// questions. The kernel gives a program the lowest numbers that are free, which are far below.
inline constexpr int first_served_descriptor = 100, most_served_descriptors = 64;

/// The descriptors that the filter names. They are closed when the program is executed.
struct FilterDescriptors {
  int program;  ///< May be executed (execveat(2)).
  int parent;   ///< May send a message (sendmsg(2)).
};

/// A seccomp filter in which openat(2) is a question to another process (OpenRequests). The program can open
/// nothing by itself, can't make or connect a socket, and can't start, signal or see any process.
class ToolFilter {
 public:
  /// An error is a reason why this host has no such sandbox.
  [[nodiscard]] static tl::expected<ToolFilter, std::string> make(ToolCalls calls,
                                                                  const FilterDescriptors& descriptors);

  /// For the calling process, for good; with it, no new privileges. Returns the descriptor at which its
  /// questions arrive, or -1 with errno. It may be called after fork(2) in a process that had threads.
  [[nodiscard]] int load() const;

 private:
  explicit ToolFilter(std::vector<sock_filter> program) : program_(std::move(program)) {}

  std::vector<sock_filter> program_;
};

}  // namespace pinfold::cli::tools
