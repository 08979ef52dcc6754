// What guests' monitors say of them, before and after anything has looked at it.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "cli/control/guests.hpp"
#include "cli/control/protocol.hpp"

namespace pinfold::cli {

/// A guest, and the bytes of what its monitor said to "status"; an error if it does not answer.
struct Asked {
  RunningGuest guest;
  tl::expected<std::string, std::string> answer;
};

/// "status" and the ID; of a monitor that does not answer, only what its supervisor noted. The bytes are
/// looked at here: a guest can have taken over its monitor.
[[nodiscard]] Json status_of(const Asked& asked);

}  // namespace pinfold::cli
