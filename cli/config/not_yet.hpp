// What a configuration can say, and a start can't do yet.
#pragma once

#include <string>
#include <vector>

#include "cli/config/guest_config.hpp"

namespace pinfold::cli {

/// Why a guest can't be started.
struct NotYet {
  std::string key;        ///< Of xl.cfg(5): "disk", "maxmem", …
  std::size_t index = 0;  ///< In a list of disks.
  std::string message;
};

/// Empty: everything that the configuration says can be done. Who makes one of these possible removes it
/// here.
[[nodiscard]] std::vector<NotYet> not_yet(const GuestConfig& guest);

}  // namespace pinfold::cli
