// The program as a monitor: what a supervisor executes for its guests.
#pragma once

#include <string>
#include <vector>

namespace pinfold::cli {

/// Descriptors that the monitor inherits from its supervisor.
struct MonitorDescriptors {
  std::vector<int> options;    ///< For each guest, a file: encode_options().
  int link = -1;               ///< To the supervisor (monitor_process.hpp).
  std::vector<int> sockets;    ///< SocketNumbers of each guest.
  std::vector<int> debuggers;  ///< Of each guest, a listening socket for GDB; -1: none.
  std::string networks;        ///< NetworkDescriptors of each guest, as texts with `+` between them.
  std::string disks;           ///< DiskSockets of each guest, likewise.
};

/// The monitor's command line. The name is there for people who list processes.
[[nodiscard]] std::vector<std::string> monitor_words(const std::string& name,
                                                     const MonitorDescriptors& descriptors);

/// Runs the guests; the exit status (life_end.hpp).
int monitor(const MonitorDescriptors& descriptors);

}  // namespace pinfold::cli
