// What a configuration tells pygrub: bootloader_args.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pinfold::cli::bootloader {

struct PygrubArguments {
  bool interactive =
      false;          ///< Show the menu. pygrub does so unless it is told not to; here it is asked for.
  std::string entry;  ///< Its number, title or ID; empty: the default.
  std::string kernel, ramdisk;  ///< Paths on the guest's disk; without a kernel the menu is read.
  std::string arguments;        ///< Behind those of the menu.
  std::optional<std::uint64_t> offset_bytes;  ///< Of the partition to look at.
  std::vector<std::string> notices;           ///< Words without an effect, one line each.
  std::vector<std::string> errors;            ///< Words that are wrong.
};

[[nodiscard]] PygrubArguments parse_pygrub_arguments(const std::vector<std::string>& words);

/// Whether a boot loader's name or path, of whatever Xen it was, means pygrub.
[[nodiscard]] bool is_pygrub(const std::string& bootloader);

}  // namespace pinfold::cli::bootloader
