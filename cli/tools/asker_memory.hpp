// The memory of a process that asks, as a child of this process's.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <tl/expected.hpp>

namespace pinfold::cli::tools {

/// A text of less than PATH_MAX bytes with a zero at its end. An error is an errno: EFAULT and ENAMETOOLONG
/// are the asker's mistakes, ESRCH is its end; with any other one, this host does not let us look.
[[nodiscard]] tl::expected<std::string, int> read_text(pid_t asker, std::uint64_t address);

/// Writes all of `bytes`. An error is an errno, as above.
[[nodiscard]] tl::expected<void, int> write_bytes(pid_t asker, std::uint64_t address,
                                                  std::span<const std::byte> bytes);

}  // namespace pinfold::cli::tools
