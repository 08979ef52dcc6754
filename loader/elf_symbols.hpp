// The functions that an ELF file's symbol table names.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "loader/load_error.hpp"

namespace pinfold::loader {

/// The functions that the open file names, as lines of "address type name", as nm prints them and a
/// System.map has them. Errors: not an ELF file, or one without a symbol table (a kernel's is in its debug
/// package).
[[nodiscard]] Loaded<std::string> function_list(int file);
/// The same of a file's contents.
[[nodiscard]] Loaded<std::string> function_list(std::span<const std::byte> file);

}  // namespace pinfold::loader
