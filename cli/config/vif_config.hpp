// A network interface of a guest, as the user described it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pinfold::cli {

/// One interface: an element of `vif` in xl.cfg(5), or a --vif. All empty is a valid one.
struct VifConfig {
  std::string mac;  ///< Six hexadecimal pairs with colons. completed() makes one of the guest's UUID.
  std::string bridge, script, interface_name, model, type, backend;
  std::vector<std::string> addresses;  ///< IPv4 or IPv6, as in `ip=`.
  std::optional<std::string> rate;     ///< As in xl: "10Mb/s", "1MB/s@50ms".
};

}  // namespace pinfold::cli
