// `--gdb`: serves a debugger.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>

#include "cli/gdb/domain_target.hpp"
#include "cli/gdb/session.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli::gdb {

/// Serves one debugger at a time, on a thread of its own. The guest is stopped until the first debugger lets
/// it continue; a later one stops it again when it connects. When a debugger hangs up, the guest runs on. A
/// client counts as a debugger once its first byte is one of the protocol. A client that begins otherwise is
/// dropped without an effect on the guest; one that has sent nothing yet is replaced by the next client.
class Server {
 public:
  /// `listener`, a listening socket, outlives this.
  Server(const vmm::Fd& listener, vmm::Domain& domain);
  /// Tells a connected debugger that the guest has ended.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

 private:
  void loop();
  void accept_client();
  void serve_client();
  [[nodiscard]] bool begin_session(char first);
  void hang_up();
  void send(std::string_view bytes);
  void wake() const;

  const vmm::Fd& listener_;
  vmm::Fd wake_;
  std::atomic<bool> over_{false};
  DomainTarget target_;
  vmm::Fd client_;
  std::optional<Session> session_;
  std::thread thread_;
};

}  // namespace pinfold::cli::gdb
