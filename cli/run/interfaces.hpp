// A guest's network interfaces, from their descriptors to their backends.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "cli/config/guest_config.hpp"
#include "cli/networks/descriptors.hpp"
#include "devices/net/interface.hpp"
#include "devices/xenbus/bus.hpp"

namespace pinfold::cli {

/// Adds a backend for each interface to the bus. An error is one line.
[[nodiscard]] tl::expected<void, std::string> add_interfaces(devices::xenbus::Bus& bus,
                                                             const GuestConfig& config,
                                                             NetworkDescriptors networks, DomId guest,
                                                             const devices::net::InterfaceLinks& links);

}  // namespace pinfold::cli
