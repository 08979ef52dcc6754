// What the confined grub-fstest gets when it opens a path: its parent decides, and gives the descriptor.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <string_view>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli::bootloader {

/// The path of disk `index` in the eyes of the confined program. No such path has to exist.
[[nodiscard]] std::string path_of_disk(std::size_t index);

/// Answers the questions of one confined process. It gets its disks, shared libraries of the system, and a
/// folder `/` without entries; for anything else ENOENT, and EACCES for writing.
class OpenRequests {
 public:
  /// `questions` is what FstestFilter::load() returned in process `asker`. `disks` are open for reading, and
  /// outlive this.
  OpenRequests(vmm::Fd questions, pid_t asker, std::span<const vmm::Fd> disks);

  [[nodiscard]] int fd() const { return questions_.get(); }
  /// One question, when fd() is readable. False, with errno: the asker's words can't be read.
  [[nodiscard]] bool answer_one();

 private:
  [[nodiscard]] bool read_path(std::uint64_t address, std::string& path) const;

  vmm::Fd questions_;
  pid_t asker_;
  std::span<const vmm::Fd> disks_;
};

/// A shared library of the host, such as /usr/lib/x86_64-linux-gnu/libc.so.6, or the linker's list of them:
/// files that anybody may read. Not open: the path is no such file.
[[nodiscard]] vmm::Fd open_library(std::string_view path);

}  // namespace pinfold::cli::bootloader
