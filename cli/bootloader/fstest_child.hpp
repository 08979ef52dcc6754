// The process that becomes grub-fstest: it gives up all that it has but its disks.
#pragma once

#include <csignal>
#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/bootloader/fstest_filter.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli::bootloader {

/// What a process of grub-fstest may use up.
struct FstestBounds {
  std::uint64_t output_bytes;
  unsigned seconds;
};

struct ChildSetup {
  const FstestFilter& filter;
  FilterDescriptors descriptors;
  int output;  ///< Files for what it prints, and
  int words;   ///< for its complaints.
  FstestBounds bounds;
  std::vector<char*> argv;  ///< With the null at its end.
};

/// The last step before the program runs: where the child got to, sent to the parent.
enum class ChildStep : std::uint8_t { identity, limits, filter, execute };

/// In the child: confines it and executes the program. The parent gets the filter's descriptor
/// (receive_questions); or the step that failed, and errno.
[[noreturn]] void become_fstest(pid_t parent, const ChildSetup& setup);

/// In the parent, from the other end of the socket. An error is one line.
[[nodiscard]] tl::expected<vmm::Fd, std::string> receive_questions(const vmm::Fd& child);

}  // namespace pinfold::cli::bootloader
