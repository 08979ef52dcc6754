// Where a process listens for TCP connections.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli::metrics {

/// Is it ADDRESS:PORT, with a numeric address: 127.0.0.1:9777, [::1]:9777? Nothing is looked up.
[[nodiscard]] bool is_address(std::string_view text);

struct Listening {
  vmm::Fd socket;    ///< Does not block.
  std::string text;  ///< The address, with the port that the host chose if port 0 was asked for.
};
/// An error is one line with the address.
[[nodiscard]] tl::expected<Listening, std::string> listen_at(std::string_view address);

}  // namespace pinfold::cli::metrics
