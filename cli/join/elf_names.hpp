// The names of a kernel's functions from an ELF file, for a machine's monitor that can't read such a file.
#pragma once

#include <filesystem>
#include <string>
#include <tl/expected.hpp>

#include "sandbox/policy.hpp"

namespace pinfold::cli::join {

/// Lines as in a System.map, at most most_bytes_of_map. A confined child reads the file; what it says is
/// untrusted. Call it while this process has one thread. An error starts with the path.
[[nodiscard]] tl::expected<std::string, std::string> names_in_elf(const std::filesystem::path& path,
                                                                  sandbox::Mode mode);

}  // namespace pinfold::cli::join
