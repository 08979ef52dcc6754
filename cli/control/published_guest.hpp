// A running guest under its name, for other commands of the user.
#pragma once

#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "cli/control/requests.hpp"
#include "cli/control/server.hpp"
#include "cli/control/socket.hpp"

namespace pinfold::cli {

/// Holds the guest's name and answers on its control socket.
class PublishedGuest {
 public:
  /// Takes the name, which is_guest_name. Where there can be no socket, the error says why: the name is
  /// taken, or there is no directory for it.
  [[nodiscard]] static tl::expected<PublishedGuest, std::string> claim(const std::string& name);

  /// From here on other commands find the guest.
  void serve(vmm::Domain& domain);
  /// No request is answered any more. Before the domain is taken apart.
  void close() { server_.reset(); }

 private:
  std::string name_;
  std::unique_ptr<ControlName> claimed_;
  std::unique_ptr<GuestControl> answers_;
  std::unique_ptr<ControlServer> server_;
};

}  // namespace pinfold::cli
