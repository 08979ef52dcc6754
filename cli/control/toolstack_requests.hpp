// Requests of the control socket that are passed on to the guest.
#pragma once

#include <cstdint>
#include <optional>

#include "cli/control/guest_requests.hpp"
#include "cli/control/protocol.hpp"

namespace pinfold::cli {

/// shutdown, mem-set, vcpu-set, sysrq, trigger (docs/control.md); nullopt: another command.
[[nodiscard]] std::optional<tl::expected<Json, std::string>> request_of_guest(GuestRequests& requests,
                                                                              std::uint32_t vcpus,
                                                                              const Request& request);

}  // namespace pinfold::cli
