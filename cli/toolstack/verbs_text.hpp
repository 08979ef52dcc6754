// What the verbs print.
#pragma once

#include <string>

#include "cli/control/protocol.hpp"

namespace pinfold::cli {

/// One line a guest: name, ID, memory, vCPUs, state, processor time, process. `guests`: an array of answers
/// to "status", each with its "id".
[[nodiscard]] std::string guests_text(const Json& guests);
/// One line a guest: name, ID, time since its start.
[[nodiscard]] std::string uptime_text(const Json& guests);
/// "1 day, 2:03:04".
[[nodiscard]] std::string duration_text(double seconds);

}  // namespace pinfold::cli
