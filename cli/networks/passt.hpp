// Networks without any right: passt(1).
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "cli/config/vif_config.hpp"
#include "cli/networks/child.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli {

/// A passt of one interface, and the socket to it. It ends when the socket's other holders have closed it.
struct Passt {
  Child process;
  vmm::Fd socket;
};

/// The guest's address if the host has no default route. It can't be the host's then.
inline constexpr const char* guest_without_route = "10.0.2.15";

/// An error is one line that says what to do.
[[nodiscard]] tl::expected<Passt, std::string> start_passt(const VifConfig& vif, bool host_has_route);

/// passt's command line, for a socket of this number.
[[nodiscard]] std::vector<std::string> passt_words(const VifConfig& vif, int socket, bool host_has_route);

}  // namespace pinfold::cli
