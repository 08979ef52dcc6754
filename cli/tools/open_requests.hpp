// What a confined program gets when it opens a path: its parent decides, and gives the descriptor, or reads
// the file for it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <variant>

#include "cli/tools/served_files.hpp"
#include "vmm/for_devices/fd.hpp"

struct seccomp_notif;
struct seccomp_notif_resp;

namespace pinfold::cli::tools {

/// A descriptor, or a file that this process reads for the program (only with ToolCalls::reads). The file
/// outlives the program.
using Opened = std::variant<vmm::Fd, ServedFile*>;
/// What a program gets that opens `path` with `flags` (open(2)); else an errno.
using Opener = std::function<tl::expected<Opened, int>(const std::string& path, int flags)>;

/// Answers the questions of one confined process. It gets shared libraries of the system and a folder `/`
/// without entries, for reading, and else what an Opener gives it.
class OpenRequests {
 public:
  /// `questions` is what ToolFilter::load() returned in process `asker`.
  OpenRequests(vmm::Fd questions, pid_t asker, Opener opener);

  [[nodiscard]] int fd() const { return questions_.get(); }
  /// One question, when fd() is readable. Signals and other interruptions do not change the answer. An error
  /// is why this host does not permit to answer, in one line about the asker.
  [[nodiscard]] tl::expected<void, std::string> answer_one();

 private:
  using Answered = tl::expected<void, std::string>;
  /// Each answers a question, and returns as answer_one().
  [[nodiscard]] Answered answer_open(const seccomp_notif& question);
  [[nodiscard]] Answered answer_read(const seccomp_notif& question);
  [[nodiscard]] Answered answer_close(const seccomp_notif& question);
  /// An asker that has ended needs no answer.
  [[nodiscard]] Answered send(seccomp_notif_resp answer) const;
  /// With an error (an errno), or a result.
  [[nodiscard]] Answered respond(const seccomp_notif& question, int error, std::int64_t result = 0) const;
  [[nodiscard]] Answered respond_to_mistake(const seccomp_notif& question, int error) const;

  [[nodiscard]] tl::expected<Opened, int> open(const std::string& path, int flags) const;

  vmm::Fd questions_;
  pid_t asker_;
  Opener opener_;
  ServedFiles served_;
};

/// A shared library of the host, such as /usr/lib/x86_64-linux-gnu/libc.so.6, or the linker's list of them:
/// files that anybody may read. Not open: the path is no such file.
[[nodiscard]] vmm::Fd open_library(std::string_view path);

}  // namespace pinfold::cli::tools
