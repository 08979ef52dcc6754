// One life of a guest, from its image to its end.
#pragma once

#include <array>

#include "cli/control/socket.hpp"
#include "cli/images/descriptors.hpp"
#include "cli/networks/descriptors.hpp"
#include "cli/run/run_options.hpp"
#include "cli/supervisor/life_end.hpp"
#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// What a monitor has from its supervisor.
struct LifeLinks {
  std::array<vmm::Fd, socket_count> sockets;  ///< By GuestSocket, listening; not open: there is none.
  vmm::Fd debugger;                           ///< Listening for GDB; not open: none is wanted.
  NetworkDescriptors networks;                ///< One for each interface of the configuration.
  DiskSockets disks;                          ///< One for each disk of the configuration, or none at all.
  vmm::Fd supervisor;  ///< A byte is written when the guest runs; one that comes asks for the end.

  [[nodiscard]] const vmm::Fd& socket(GuestSocket which = GuestSocket::control) const {
    return sockets[static_cast<std::size_t>(which)];
  }
};

/// Runs the guest on stdin and stdout; messages and statistics go to stderr. Says how it ended. Lives have
/// nothing in common but the options.
[[nodiscard]] LifeEnd live(const RunOptions& options, LifeLinks links);

}  // namespace pinfold::cli
