// A monitor, as the supervisor sees it: a child process.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/control/socket.hpp"
#include "cli/images/descriptors.hpp"
#include "cli/networks/descriptors.hpp"
#include "cli/run/run_options.hpp"
#include "cli/supervisor/link.hpp"
#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// What a monitor gets for one guest. It outlives the start.
struct GuestHandover {
  const RunOptions& options;
  SocketNumbers sockets;
  int debugger;  ///< A listening socket for GDB, or -1.
  const NetworkDescriptors& networks;
  const DiskSockets& disks;
};

/// Runs the guests of a machine. The program is executed anew for each machine, so that addresses in it that
/// a guest has learned in one are worth nothing in the next.
///
/// Between the two there is one socket, the link (link.hpp). The monitor writes messages about its guests;
/// the supervisor writes one to have it end. The exit status says the rest (life_end.hpp).
class MonitorProcess {
 public:
  /// The child has the signal mask `mask`, and ends when this
  /// process does. An error is one line.
  [[nodiscard]] static tl::expected<MonitorProcess, std::string> start(
      const std::vector<GuestHandover>& guests, const sigset_t& mask);

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Becomes readable when the monitor has written a message, or ends. -1: the supervisor reads no more of
  /// it.
  [[nodiscard]] int link() const { return closed_ ? -1 : link_.get(); }
  /// Reads what there is; the messages that are whole. A monitor can have been taken over by a guest, so it
  /// may be anything.
  [[nodiscard]] std::vector<link::Message> read_link();
  [[nodiscard]] bool guests_run() const { return runs_; }
  /// Reads no more of the link, and still writes to it.
  void stop_reading() { closed_ = true; }
  /// Tells it that the guest which it preserves has another name.
  void say_renamed() const;

  /// Asks it to end its guests, and then itself.
  void ask_to_leave();
  void kill() const { ::kill(pid_, SIGKILL); }
  /// The status of waitpid(2), once it has ended.
  [[nodiscard]] std::optional<int> ended();
  [[nodiscard]] int wait();

 private:
  pid_t pid_ = -1;
  vmm::Fd link_;
  std::vector<std::uint8_t> read_;  ///< Half a message.
  bool runs_ = false, closed_ = false;
};

}  // namespace pinfold::cli
