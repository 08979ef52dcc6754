// What a confined program gets when it opens a path: its parent decides, and gives the descriptor.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli::tools {

/// What a program gets that opens `path` with `flags` (open(2)): a descriptor, or an errno.
using Opener = std::function<tl::expected<vmm::Fd, int>(const std::string& path, int flags)>;

/// Answers the questions of one confined process. It gets shared libraries of the system and a folder `/`
/// without entries, for reading, and else what an Opener gives it.
class OpenRequests {
 public:
  /// `questions` is what ToolFilter::load() returned in process `asker`.
  OpenRequests(vmm::Fd questions, pid_t asker, Opener opener);

  [[nodiscard]] int fd() const { return questions_.get(); }
  /// One question, when fd() is readable. False, with errno: the asker's words can't be read.
  [[nodiscard]] bool answer_one();

 private:
  [[nodiscard]] tl::expected<vmm::Fd, int> open(const std::string& path, int flags) const;
  [[nodiscard]] bool read_path(std::uint64_t address, std::string& path) const;

  vmm::Fd questions_;
  pid_t asker_;
  Opener opener_;
};

/// A shared library of the host, such as /usr/lib/x86_64-linux-gnu/libc.so.6, or the linker's list of them:
/// files that anybody may read. Not open: the path is no such file.
[[nodiscard]] vmm::Fd open_library(std::string_view path);

}  // namespace pinfold::cli::tools
