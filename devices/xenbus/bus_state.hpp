// The states of the two ends of a device (xen/io/xenbus.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "devices/xen_abi.hpp"

namespace pinfold::devices::xenbus {

enum class BusState : std::uint8_t {
  unknown = XenbusStateUnknown,
  initialising = XenbusStateInitialising,
  init_wait = XenbusStateInitWait,
  initialised = XenbusStateInitialised,
  connected = XenbusStateConnected,
  closing = XenbusStateClosing,
  closed = XenbusStateClosed,
  reconfiguring = XenbusStateReconfiguring,
  reconfigured = XenbusStateReconfigured,
};

/// As in a `state` node: one digit. Anything else is `unknown`.
[[nodiscard]] inline BusState parse_state(std::string_view text) {
  if (text.size() != 1 || text[0] < '0' || text[0] > '0' + XenbusStateReconfigured) return BusState::unknown;
  return static_cast<BusState>(text[0] - '0');
}
[[nodiscard]] inline std::string text_of(BusState state) {
  return std::to_string(static_cast<unsigned>(state));
}

}  // namespace pinfold::devices::xenbus
