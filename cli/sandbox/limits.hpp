// Limits of a process (getrlimit(2)).
#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>

namespace pinfold::sandbox {

/// This process may have `more` descriptors than it has, and `welcome` besides if the user's own limit leaves
/// room for them; no message queue, and no better priority. An error is one line: that limit leaves no room
/// for `more`.
[[nodiscard]] tl::expected<void, std::string> set_limits(std::uint64_t more, std::uint64_t welcome);

}  // namespace pinfold::sandbox
