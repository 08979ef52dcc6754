// The console's readers on descriptors: clients of a socket, and a pseudo-terminal.
#pragma once

#include <atomic>
#include <cstddef>
#include <optional>
#include <thread>
#include <vector>

#include "cli/console/attachment.hpp"
#include "cli/console/hub.hpp"
#include "cli/control/wake_up.hpp"
#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// Serves them on a thread of its own, from start() to close(). The bytes on a socket are the console's
/// bytes, without a frame: first the history, then what the guest prints. All may type; what several type at
/// the same time is merged in pieces. Clients beyond most_clients wait until another one leaves.
class ConsoleServer final : ConsoleHub::Reader {
 public:
  static constexpr std::size_t most_clients = 64;

  /// `hub`, and `listener`, a listening UNIX socket that does not block, outlive this. A `listener` or a
  /// `pty`, the master's side, that is not open is left out.
  ConsoleServer(ConsoleHub& hub, const vmm::Fd& listener, vmm::Fd pty);
  ~ConsoleServer() override { close(); }
  ConsoleServer(const ConsoleServer&) = delete;
  ConsoleServer& operator=(const ConsoleServer&) = delete;

  /// `input` is called on the thread.
  void start(Attachment::Input input);
  /// Closes the connections of the clients that are there.
  void disconnect_clients();
  /// The guest has printed its last: sends what is left to those that take it soon, and disconnects all.
  void close();

 private:
  void output_ready() override { wake_.signal(); }
  void loop();
  bool accept_client();
  void finish();

  ConsoleHub& hub_;
  const vmm::Fd& listener_;
  std::optional<Attachment> pty_;
  std::vector<Attachment> clients_;
  Attachment::Input input_;
  WakeUp wake_;
  std::atomic<bool> closing_ = false, disconnecting_ = false;
  std::thread thread_;
};

}  // namespace pinfold::cli
