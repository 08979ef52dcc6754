// Tap devices (Linux: Documentation/networking/tuntap.rst) and bridges.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli {

/// Queues of one device, as a TapLane needs them.
using TapQueues = std::vector<vmm::Fd>;

/// Opens a device that exists: `queues` queues if it was made for several, else one. An error is one line
/// that says what to do.
[[nodiscard]] tl::expected<TapQueues, std::string> open_tap(const std::string& name, std::size_t queues);

/// Makes a device for a bridge, which goes when its queues are closed. The caller has looked that there is
/// none of that name. An error is one line that says what to do.
[[nodiscard]] tl::expected<TapQueues, std::string> make_tap(const std::string& name, std::size_t queues);

[[nodiscard]] bool interface_exists(const std::string& name);
/// Errors are one line.
[[nodiscard]] tl::expected<void, std::string> set_up(const std::string& name,
                                                     std::optional<std::uint32_t> mtu);
[[nodiscard]] tl::expected<void, std::string> add_to_bridge(const std::string& bridge,
                                                            const std::string& name);

}  // namespace pinfold::cli
