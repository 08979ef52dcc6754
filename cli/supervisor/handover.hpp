// How a supervisor hands a life's options to its monitor: as bytes, because the monitor is a program that has
// just been executed and shares no memory with it.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "cli/run/run_options.hpp"
#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// All fields, in CBOR (RFC 8949). Only the same build of the program can read them.
[[nodiscard]] std::string encode_options(const RunOptions& options);
/// An error says that these are not the bytes of this build's options.
[[nodiscard]] tl::expected<RunOptions, std::string> decode_options(std::string_view bytes);

/// A file without a name (memfd_create(2)) that has the bytes; invalid, with errno, if the host gives none.
[[nodiscard]] vmm::Fd file_with(std::string_view bytes);
/// All bytes of such a file.
[[nodiscard]] std::string bytes_of(const vmm::Fd& file);

}  // namespace pinfold::cli
