// The messages of a guest in the background.
#pragma once

#include <filesystem>
#include <string>
#include <tl/expected.hpp>

#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// $XDG_STATE_HOME/pinfold, else ~/.local/state/pinfold; made, with mode 0700, if it is missing.
[[nodiscard]] tl::expected<std::filesystem::path, std::string> log_directory();

/// Writes what comes through the pipe to NAME.log in the directory, until the pipe's other end is closed. The
/// log of the guest before becomes NAME.log.old, and so does a log that has longest_log bytes. What the disk
/// does not take is lost. A guest's words are in it: once both files are open, this process confines itself.
void keep_log(const vmm::Fd& pipe, const std::filesystem::path& log);

inline constexpr std::size_t longest_log = std::size_t{1} << 20;

}  // namespace pinfold::cli
