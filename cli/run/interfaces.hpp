// A guest's network interfaces, from their descriptors to their backends.
#pragma once

#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "cli/config/guest_config.hpp"
#include "cli/networks/descriptors.hpp"
#include "devices/net/interface.hpp"
#include "devices/xenbus/bus.hpp"

namespace pinfold::cli {

/// The backend of one interface: the guest's number `index`. An error is one line.
[[nodiscard]] tl::expected<std::unique_ptr<devices::net::Interface>, std::string> make_interface(
    const VifConfig& vif, std::size_t index, VifDescriptors descriptors,
    const devices::net::InterfaceLinks& links, std::uint32_t queues);

/// Adds a backend for each interface to the bus. An error is one line.
[[nodiscard]] tl::expected<void, std::string> add_interfaces(devices::xenbus::Bus& bus,
                                                             const GuestConfig& config,
                                                             NetworkDescriptors networks, DomId guest,
                                                             const devices::net::InterfaceLinks& links);

}  // namespace pinfold::cli
