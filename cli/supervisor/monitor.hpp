// The program as a monitor: what a supervisor executes for one life of its guest.
#pragma once

#include <string>
#include <vector>

namespace pinfold::cli {

/// Descriptors that the monitor inherits from its supervisor.
struct MonitorDescriptors {
  int options = -1;          ///< A file: encode_options().
  int link = -1;             ///< To the supervisor (monitor_process.hpp).
  std::vector<int> sockets;  ///< SocketNumbers.
  int debugger = -1;         ///< A listening socket for GDB; -1: none.
  std::string networks;      ///< NetworkDescriptors, as a text.
  std::string disks;         ///< DiskSockets, as a text.
};

/// The monitor's command line. The name is there for people who list processes.
[[nodiscard]] std::vector<std::string> monitor_words(const std::string& name,
                                                     const MonitorDescriptors& descriptors);

/// Runs the life; the exit status (life_end.hpp).
int monitor(const MonitorDescriptors& descriptors);

}  // namespace pinfold::cli
