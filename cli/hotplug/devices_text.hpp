// Tables of guests' devices, with xl's columns.
#pragma once

#include <string>

#include "cli/control/protocol.hpp"

namespace pinfold::cli {

/// `devices`: an array of what "devices" answers of each, in one list.
[[nodiscard]] std::string disks_text(const Json& devices);
[[nodiscard]] std::string interfaces_text(const Json& devices);

}  // namespace pinfold::cli
