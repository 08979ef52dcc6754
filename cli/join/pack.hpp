// Makes a parcel of a guest: in the command that adds it to a machine, which has the user's rights.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "cli/control/socket.hpp"
#include "cli/networks/descriptors.hpp"
#include "cli/run/failure.hpp"
#include "cli/run/run_options.hpp"

namespace pinfold::cli::join {

/// Why this guest can't join another one's machine, in one line; empty: it can.
[[nodiscard]] std::string objection_to(const RunOptions& options);

/// Opens all that the guest is made from, and sends it. `sockets`, `debugger` (a socket that listens for GDB,
/// or -1) and `networks` are the supervisor's.
[[nodiscard]] Result<void> send_guest(const vmm::Fd& socket, const RunOptions& options,
                                      const SocketNumbers& sockets, int debugger,
                                      const NetworkDescriptors& networks);

}  // namespace pinfold::cli::join
