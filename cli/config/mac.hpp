// Ethernet addresses of a guest's interfaces.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "vmm/uuid.hpp"

namespace pinfold::cli {

/// Six hexadecimal numbers of one or two digits, with colons between them, as "00:16:3e:12:34:56". Nothing
/// for any other text.
[[nodiscard]] std::optional<std::string> canonical_mac(std::string_view text);

/// Whether the address is one that several stations listen to: no interface can have it.
[[nodiscard]] bool is_multicast(std::string_view canonical_mac);

/// An address in Xen's range (00:16:3e) for the interface of this index. It is always the same for a UUID and
/// an index. `attempt` gives others, for the case that two interfaces of a guest got the same one.
[[nodiscard]] std::string mac_of(const vmm::Uuid& uuid, std::size_t index, unsigned attempt = 0);

}  // namespace pinfold::cli
