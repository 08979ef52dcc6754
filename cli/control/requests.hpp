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
#include "cli/hotplug/device_requests.hpp"
#include "devices/grant_table.hpp"
#include "vmm/domain.hpp"

namespace pinfold::cli {

/// One guest, as the control socket offers it. `answer` may be called from any thread.
class GuestControl {
 public:
  /// Makes a guest in this one's machine of what a client has sent through the socket: its domain's ID.
  using Join = std::function<tl::expected<std::uint16_t, std::string>(vmm::Fd socket)>;
  /// `on_destroy` is called after the domain's end, when somebody asks for it.
  GuestControl(std::string name, vmm::Domain& domain, HotPlug& hot_plug, devices::GrantTable& grants,
               const std::shared_ptr<devices::xenstore::Store>& store, std::function<void()> on_destroy = {},
               Join join = {})
      : name_(std::move(name)),
        domain_(domain),
        grants_(grants),
        requests_(domain, store),
        devices_(hot_plug, store),
        on_destroy_(std::move(on_destroy)),
        join_(std::move(join)) {}

  /// From here on the guest, which has ended, is there for inspection.
  void set_preserved() { preserved_ = true; }

  /// One line in, one line out (protocol.hpp). docs/control.md has the commands. Descriptors that no device
  /// keeps are closed; a request with descriptors for a command that takes none is refused.
  [[nodiscard]] std::string answer(std::string_view line, Descriptors descriptors = {});

 private:
  [[nodiscard]] tl::expected<Json, std::string> carry_out(const Request& request, Descriptors& descriptors);
  [[nodiscard]] Json status();
  [[nodiscard]] Json metrics();
  [[nodiscard]] const char* state();
  [[nodiscard]] Json end();
  [[nodiscard]] tl::expected<Json, std::string> set_paused(bool paused);
  [[nodiscard]] tl::expected<Json, std::string> destroy();
  [[nodiscard]] tl::expected<Json, std::string> join(Descriptors& descriptors);

  std::string name_;
  vmm::Domain& domain_;
  devices::GrantTable& grants_;
  GuestRequests requests_;
  DeviceRequests devices_;
  std::function<void()> on_destroy_;
  Join join_;
  std::atomic<bool> preserved_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace pinfold::cli
