// The text of a configuration file.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <tl/expected.hpp>

#include "cli/config/remark.hpp"

namespace pinfold::cli {

/// Real files have some kilobytes.
inline constexpr std::size_t longest_config_text = 1 << 20;

/// Reads a regular file of at most `longest_config_text` bytes, and prepares its text for the parser. An
/// error has the file's name; errno's text if the file can't be read.
[[nodiscard]] tl::expected<std::string, Remark> read_config_text(const std::filesystem::path& file);

/// Removes what libxlutil does not take but editors write: a byte order mark, carriage returns at the ends of
/// lines; and ends the last line. A byte of zero is an error, because the library would stop there.
[[nodiscard]] tl::expected<std::string, Remark> prepare_config_text(std::string text,
                                                                    const std::string& source);

}  // namespace pinfold::cli
