// grub-fstest (Debian's package grub-common), which knows file systems, partitions and LVM: each command in a
// process of its own that can reach nothing but the disks (docs/decisions/boot-loader.md).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <variant>
#include <vector>

#include "cli/tools/served_files.hpp"
#include "cli/tools/tool.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli::bootloader {

/// What a command may use up.
struct FstestBounds {
  std::uint64_t output_bytes;
  unsigned seconds;
};

enum class FstestTrouble : std::uint8_t {
  host,    ///< No command can be run here.
  disks,   ///< This one failed, because of what is on the disks.
  absent,  ///< There is no such file.
};

struct FstestError {
  FstestTrouble kind;
  std::string message;  ///< One line.
};

/// What a command printed: a file without a name, which nobody changes any more.
struct FstestOutput {
  vmm::Fd file;
  std::uint64_t size = 0;
};

/// A disk: an image that is open for reading, or that this process reads for the program (never null).
using FstestDisk = std::variant<vmm::Fd, std::unique_ptr<tools::ServedFile>>;

/// Runs commands on disks. One at a time. It forks: without threads, please.
class Fstest {
 public:
  /// Finds the program in $PATH. An error says what to install.
  [[nodiscard]] static tl::expected<Fstest, FstestError> find(std::vector<FstestDisk> disks);

  /// Such as {"cat", "(loop0)/boot/grub/grub.cfg"}; disk n is loop{n}. Words that come from a guest must not
  /// contain '(': the program takes `(host)` for the host's files (and finds none in the sandbox).
  /// A `ls` of a folder never fails: what it prints ends with an empty line if it has all names.
  [[nodiscard]] tl::expected<FstestOutput, FstestError> run(const std::vector<std::string>& words,
                                                            const FstestBounds& bounds) const;

  [[nodiscard]] std::size_t disk_count() const { return disks_.size(); }

 private:
  Fstest() = default;

  std::vector<FstestDisk> disks_;
};

using tools::text_of;

}  // namespace pinfold::cli::bootloader
