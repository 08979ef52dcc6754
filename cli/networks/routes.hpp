// What the host's routing tables say, as the kernel shows them in /proc/net.
#pragma once

#include <string_view>

namespace pinfold::cli {

/// Is there a usable default route in the text of /proc/net/route?
[[nodiscard]] bool has_ipv4_default(std::string_view table);
/// The same in /proc/net/ipv6_route.
[[nodiscard]] bool has_ipv6_default(std::string_view table);

/// Does this host have a default route, of IPv4 or IPv6?
[[nodiscard]] bool has_default_route();

}  // namespace pinfold::cli
