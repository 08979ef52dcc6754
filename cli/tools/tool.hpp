// Programs that read what a guest or an image's maker wrote, each in a process that can reach nothing but
// what it is given (docs/decisions/boot-loader.md).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/tools/open_requests.hpp"
#include "cli/tools/tool_child.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli::tools {

/// How to start one.
struct ToolPlan {
  std::string name;                ///< Of the program, which is looked for in $PATH.
  std::vector<std::string> words;  ///< Its arguments.
  ToolCalls calls = ToolCalls::reads;
  ToolBounds bounds;
  Opener opener;
  std::optional<sandbox::User> user;
  int input = -1;     ///< A file that it reads as its standard input; -1: nothing.
  int listener = -1;  ///< A socket that it gets (sd_listen_fds(3)).
};

/// Why a program can't be confined here, in one line; or that it is not installed.
struct ToolFailure {
  bool is_missing;
  std::string message;
};

/// Is there such a program in $PATH?
[[nodiscard]] bool is_installed(const std::string& name);

/// One that runs. It ends with this process.
///
/// Concurrency: used by one thread, in a process that has no others.
class ConfinedTool {
 public:
  using Clock = std::chrono::steady_clock;

  [[nodiscard]] static tl::expected<ConfinedTool, ToolFailure> start(ToolPlan plan);
  ConfinedTool(ConfinedTool&& other) noexcept;
  ConfinedTool& operator=(ConfinedTool&&) = delete;
  /// Kills it, if it has not ended.
  ~ConfinedTool();

  enum class Served : std::uint8_t { ended, ready, late };
  /// Answers its questions until it has ended, until `ready` is readable (-1: never), or until the deadline.
  /// An error: its questions can't be answered on this host.
  [[nodiscard]] tl::expected<Served, std::string> serve(int ready, Clock::time_point deadline);
  /// From here on it can open nothing more.
  void answer_no_more() { requests_.reset(); }

  void terminate() const;
  /// Its status as of waitpid(2), if it ends within `milliseconds`. Only the first time.
  [[nodiscard]] std::optional<int> wait(int milliseconds);
  [[nodiscard]] pid_t pid() const { return pid_; }
  /// What it printed, and its complaints.
  [[nodiscard]] vmm::Fd& output() { return output_; }
  [[nodiscard]] const vmm::Fd& complaints() const { return complaints_; }

 private:
  ConfinedTool() = default;
  pid_t pid_ = -1;  ///< -1: it has ended.
  vmm::Fd gone_;    ///< Readable when it has ended.
  vmm::Fd output_, complaints_;
  std::optional<OpenRequests> requests_;
};

/// At most `limit` bytes from the start of a file.
[[nodiscard]] std::string text_of(const vmm::Fd& file, std::size_t limit);

}  // namespace pinfold::cli::tools
