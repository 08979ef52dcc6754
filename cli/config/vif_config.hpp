// A network interface of a guest, as the user described it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

namespace pinfold::cli {

/// One interface: an element of `vif` in xl.cfg(5), or a --vif. All empty is a valid one.
struct VifConfig {
  std::string
      mac;  ///< Six pairs of hexadecimal digits with colons. completed() makes one of the guest's UUID.
  std::string bridge, script, interface_name, gateway_device, model, type, backend;
  std::vector<std::string> addresses;  ///< IPv4 or IPv6, as in `ip=`.
  std::optional<std::string> rate;     ///< As in xl: "10Mb/s", "1MB/s@50ms".
  std::optional<std::uint32_t> mtu;
};

/// What an interface's text says.
struct VifSpec {
  VifConfig config;
  std::vector<std::string> unknown;  ///< Words that xl does not know; it ignores them.
  std::vector<std::string> unused;   ///< Words that xl knows, and that have no effect here.
};

/// Splits "mac=…,bridge=…", the syntax of xl-network-configuration(5), as xl does: at each comma, without the
/// spaces around. The rate is not checked. An error says what is wrong.
[[nodiscard]] tl::expected<VifSpec, std::string> parse_vif(std::string_view spec);

}  // namespace pinfold::cli
