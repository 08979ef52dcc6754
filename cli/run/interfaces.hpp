// A guest's network interfaces, from their descriptors to their backends.
#pragma once

#include <memory>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/config/guest_config.hpp"
#include "cli/networks/descriptors.hpp"
#include "devices/net/interface.hpp"
#include "devices/xenbus/bus.hpp"

namespace pinfold::cli {

/// The backend of one interface: the guest's number `index`. An error is one line.
[[nodiscard]] tl::expected<std::unique_ptr<devices::net::Interface>, std::string> make_interface(
    const VifConfig& vif, std::size_t index, VifDescriptors descriptors,
    const devices::net::InterfaceLinks& links, std::uint32_t queues);

/// The host's side of a guest's interfaces, in the order of GuestConfig::vifs; null for one that another
/// guest serves. Lives of the guest in one machine use the same, one after the other.
using Wirings = std::vector<std::shared_ptr<devices::net::Wiring>>;

/// Of the descriptors of each that has a host's side.
[[nodiscard]] Wirings wirings_of(const GuestConfig& config, NetworkDescriptors networks);

/// What libxl writes for people and scripts that read the store.
[[nodiscard]] devices::net::InterfaceNodes nodes_of(const VifConfig& vif, std::size_t index);

/// Adds a backend for each interface that this host serves to the bus. An error is one line.
[[nodiscard]] tl::expected<void, std::string> add_interfaces(devices::xenbus::Bus& bus,
                                                             const GuestConfig& config, Wirings wirings,
                                                             DomId guest,
                                                             const devices::net::InterfaceLinks& links);

}  // namespace pinfold::cli
