// The functions that an ELF file's symbol table names.
#pragma once

#include <filesystem>
#include <string>

#include "loader/load_error.hpp"

namespace pinfold::loader {

/// The functions as lines of "address type name", as nm prints them and a System.map has them. Errors: not an
/// ELF file, or one without a symbol table (a kernel's is in its debug package).
[[nodiscard]] Loaded<std::string> function_list(const std::filesystem::path& file);

}  // namespace pinfold::loader
