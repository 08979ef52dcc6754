// A machine with its guests, from their images to their ends.
#pragma once

#include <array>
#include <vector>

#include "cli/control/socket.hpp"
#include "cli/images/descriptors.hpp"
#include "cli/networks/descriptors.hpp"
#include "cli/run/run_options.hpp"
#include "cli/supervisor/life_end.hpp"
#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// What a monitor has from its supervisor for one guest.
struct LifeLinks {
  std::array<vmm::Fd, socket_count> sockets;  ///< By GuestSocket, listening; not open: there is none.
  vmm::Fd debugger;                           ///< Listening for GDB; not open: none is wanted.
  NetworkDescriptors networks;                ///< One for each interface of the configuration.
  DiskSockets disks;                          ///< One for each disk of the configuration, or none at all.
  vmm::Fd supervisor;  ///< Of a guest that has joined the machine: the link to its own supervisor.

  [[nodiscard]] const vmm::Fd& socket(GuestSocket which = GuestSocket::control) const {
    return sockets[static_cast<std::size_t>(which)];
  }
};

/// What a monitor has from its supervisor.
struct MachineLinks {
  std::vector<LifeLinks> guests;  ///< In the order of the options.
  vmm::Fd supervisor;             ///< The link (link.hpp).
};

/// Runs the guests on stdin and stdout; messages and statistics go to stderr. Says how the last of them
/// ended. A guest that restarts while others are in the machine does so in the machine; the last one does
/// not: its next life is a new process's, and has nothing in common with this one but the options.
[[nodiscard]] LifeEnd live(const MachineOptions& guests, MachineLinks links);

}  // namespace pinfold::cli
