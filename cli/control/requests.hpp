// Answers the control socket's requests for one guest.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
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
  /// `on_destroy` is called after the domain's end, when somebody asks for it.
  GuestControl(std::string name, vmm::Domain& domain, std::shared_ptr<devices::xenstore::Store> store,
               std::function<void()> on_destroy = {})
      : name_(std::move(name)),
        domain_(domain),
        requests_(domain, std::move(store)),
        on_destroy_(std::move(on_destroy)) {}

  /// From here on the guest, which has ended, is there for inspection.
  void set_preserved() { preserved_ = true; }

  /// One line in, one line out (protocol.hpp). docs/control.md has the commands. None of them takes
  /// descriptors: a request that has any is refused, and they are closed.
  [[nodiscard]] std::string answer(std::string_view line, const Descriptors& descriptors = {});

 private:
  [[nodiscard]] tl::expected<Json, std::string> carry_out(const Request& request);
  [[nodiscard]] Json status();
  [[nodiscard]] const char* state();
  [[nodiscard]] Json end();
  [[nodiscard]] tl::expected<Json, std::string> set_paused(bool paused);
  [[nodiscard]] tl::expected<Json, std::string> destroy();

  std::string name_;
  vmm::Domain& domain_;
  GuestRequests requests_;
  std::function<void()> on_destroy_;
  std::atomic<bool> preserved_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace pinfold::cli
