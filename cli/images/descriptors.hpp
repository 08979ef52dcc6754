// Connections to the servers of a guest's disks, which a supervisor makes and its monitor inherits.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli {

/// Of one disk; without a server, none.
struct ServerConnections {
  std::vector<vmm::Fd> sockets;
  vmm::Fd tie;  ///< Closed with the image. Not open: nobody waits for that.
};
/// For each disk of the configuration.
using DiskSockets = std::vector<ServerConnections>;

/// The numbers, for a monitor's command line: "7,8,/10;;9,;". Empty if no disk has a server.
[[nodiscard]] std::string text_of(const DiskSockets& disks);
/// All numbers, for an execve(2) that keeps them.
[[nodiscard]] std::vector<int> numbers_of(const DiskSockets& disks);
/// Takes over the descriptors of such a text, and makes them close-on-exec. An error: the text is none.
[[nodiscard]] tl::expected<DiskSockets, std::string> inherit_disk_sockets(std::string_view text);

}  // namespace pinfold::cli
