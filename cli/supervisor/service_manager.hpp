// Tells the service manager that started this process what became of the guests (sd_notify(3)).
#pragma once

#include <string>
#include <string_view>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli {

/// The datagram socket that $NOTIFY_SOCKET names: a path, or with `@` in front an abstract name. Without
/// that, and if nobody listens, nothing is said: systemd finds out by the time that it gives a service to
/// start.
class ServiceManager {
 public:
  /// Takes the variable out of the environment: no child of this process speaks for it.
  [[nodiscard]] static ServiceManager take_from_environment();

  void say_ready() const { send("READY=1\nSTATUS=The guest runs"); }
  void say_stopping() const { send("STOPPING=1\nSTATUS=The guest has ended, or ends"); }

 private:
  void send(std::string_view message) const;

  std::string place_;  ///< As in the variable; empty: there is no service manager.
};

}  // namespace pinfold::cli
