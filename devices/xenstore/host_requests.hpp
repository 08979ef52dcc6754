// The requests that only domain 0 may make: about domains, and to the store itself.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "devices/xenstore/store.hpp"

namespace pinfold::devices::xenstore {

/// Is it one of the requests that host_request() answers?
[[nodiscard]] bool is_host_request(std::uint32_t type);

/// Answers one. The monitor itself connects its domains and disconnects them, so INTRODUCE and RELEASE of a
/// domain that is there get EBUSY; XS_SET_TARGET, which stub domains need, gets ENOSYS.
[[nodiscard]] tl::expected<std::string, Errno> host_request(Store& store, std::uint32_t type,
                                                            std::string_view payload);

}  // namespace pinfold::devices::xenstore
