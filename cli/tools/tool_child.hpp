// The process that becomes a confined program: it gives up all that it has but a few descriptors.
#pragma once

#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/tools/tool_filter.hpp"
#include "sandbox/policy.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli::tools {

/// What a program may use up. nullopt: as much as this process.
struct ToolBounds {
  std::optional<std::uint64_t> output_bytes;  ///< Of each file that it writes.
  std::optional<unsigned> seconds;            ///< Of processor time, and of time.
  std::uint64_t memory = std::uint64_t{1} << 30;
};

struct ChildSetup {
  const ToolFilter& filter;
  FilterDescriptors descriptors;  ///< All above `listener_number`.
  int input;                      ///< A file that it reads; -1: nothing.
  int output;                     ///< Files for what it prints, and
  int words;                      ///< for its complaints.
  int listener;  ///< A socket that it gets by systemd's protocol (sd_listen_fds(3)); -1: none.
  ToolBounds bounds;
  std::optional<sandbox::User> user;  ///< Whom it becomes; nullopt: root becomes nobody, if that works here.
  std::vector<char*> argv;            ///< With the null at its end.
};

/// The number that the listener has in the program.
inline constexpr int listener_number = 3;

/// The exit statuses of a program that never ran: the kernel did not execute it (the reason is among its
/// complaints), or the dynamic linker did not load it (glibc: _dl_fatal_printf).
inline constexpr int not_executed = 126, not_loaded = 127;

/// The last step before the program runs: where the child got to, sent to the parent.
enum class ChildStep : std::uint8_t { identity, limits, filter, execute };

/// In the child: confines it and executes the program. The parent gets the filter's descriptor
/// (receive_questions); or the step that failed, and errno.
[[noreturn]] void become_tool(pid_t parent, const ChildSetup& setup);

/// In the parent, from the other end of the socket. An error is one line.
[[nodiscard]] tl::expected<vmm::Fd, std::string> receive_questions(const vmm::Fd& child);

}  // namespace pinfold::cli::tools
