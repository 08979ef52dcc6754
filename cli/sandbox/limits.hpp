// Limits of a process (getrlimit(2)).
#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>

namespace pinfold::sandbox {

/// This process may have `more` descriptors than it has, no message queue, and no better priority. An error
/// is one line: the user's own limit leaves no room for so many.
[[nodiscard]] tl::expected<void, std::string> set_limits(std::uint64_t more);

}  // namespace pinfold::sandbox
