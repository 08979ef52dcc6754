// Answers the control socket's requests for one guest.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "cli/control/guest_requests.hpp"
#include "cli/control/protocol.hpp"
#include "cli/control/socket.hpp"
#include "vmm/domain.hpp"

namespace pinfold::cli {

/// One guest, as the control socket offers it. `answer` may be called from any thread.
class GuestControl {
 public:
  GuestControl(std::string name, vmm::Domain& domain, std::shared_ptr<devices::xenstore::Store> store)
      : name_(std::move(name)), domain_(domain), requests_(domain, std::move(store)) {}

  /// One line in, one line out (protocol.hpp). docs/control.md has the commands. None of them takes
  /// descriptors: a request that has any is refused, and they are closed.
  [[nodiscard]] std::string answer(std::string_view line, const Descriptors& descriptors = {});

 private:
  [[nodiscard]] tl::expected<Json, std::string> carry_out(const Request& request);
  [[nodiscard]] Json status();
  [[nodiscard]] tl::expected<Json, std::string> set_paused(bool paused);
  [[nodiscard]] tl::expected<Json, std::string> destroy();

  std::string name_;
  vmm::Domain& domain_;
  GuestRequests requests_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace pinfold::cli
