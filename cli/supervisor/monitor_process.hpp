// A monitor, as the supervisor sees it: a child process.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "cli/control/socket.hpp"
#include "cli/images/descriptors.hpp"
#include "cli/networks/descriptors.hpp"
#include "cli/run/run_options.hpp"
#include "cli/supervisor/life_end.hpp"
#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// What a monitor inherits, besides its options and the link.
struct Inheritance {
  const SocketNumbers& sockets;  ///< The guest's.
  int debugger;                  ///< The socket for GDB, or -1.
  const NetworkDescriptors& networks;
  const DiskSockets& disks;
};

/// Runs one life of the guest. The program is executed anew for each life, so that addresses in it that a
/// guest has learned in one life are worth nothing in the next.
///
/// Between the two there is one socket, the link (link.hpp). The monitor writes a byte when the guest runs,
/// and another one when the guest has ended and is preserved; the supervisor writes one to have it end. The
/// exit status says the rest (life_end.hpp).
class MonitorProcess {
 public:
  /// The child has the signal mask `mask`, and ends when this process does. An error is one line.
  [[nodiscard]] static tl::expected<MonitorProcess, std::string> start(const RunOptions& options,
                                                                       const Inheritance& inherited,
                                                                       const sigset_t& mask);

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Becomes readable when the guest runs or is preserved, or the monitor ends. -1: the supervisor reads no
  /// more of it.
  [[nodiscard]] int link() const { return preserved_ ? -1 : link_.get(); }
  void read_link();
  [[nodiscard]] bool guest_runs() const { return runs_; }
  /// How the guest ended that the monitor preserves.
  [[nodiscard]] std::optional<GuestEnd> preserved() const { return preserved_; }
  /// Tells it that the guest which it preserves has another name.
  void say_renamed() const;

  /// Asks it to end its guest, and then itself.
  void ask_to_leave();
  void kill() const { ::kill(pid_, SIGKILL); }
  /// The status of waitpid(2), once it has ended.
  [[nodiscard]] std::optional<int> ended();
  [[nodiscard]] int wait();

 private:
  pid_t pid_ = -1;
  vmm::Fd link_;
  bool runs_ = false;
  std::optional<GuestEnd> preserved_;
};

}  // namespace pinfold::cli
