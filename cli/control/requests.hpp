// Answers the control socket's requests for one guest.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "cli/control/protocol.hpp"
#include "cli/control/socket.hpp"
#include "vmm/domain.hpp"

namespace pinfold::cli {

/// One guest, as the control socket offers it. `answer` may be called from any thread.
class GuestControl {
 public:
  GuestControl(std::string name, vmm::Domain& domain) : name_(std::move(name)), domain_(domain) {}

  /// One line in, one line out (protocol.hpp). Commands: status, tables, frame, walk, pause, unpause. None of
  /// them takes descriptors: a request that has any is refused, and they are closed.
  [[nodiscard]] std::string answer(std::string_view line, const Descriptors& descriptors = {});

 private:
  [[nodiscard]] tl::expected<Json, std::string> carry_out(const Request& request);
  [[nodiscard]] Json status();
  [[nodiscard]] tl::expected<Json, std::string> set_paused(bool paused);

  std::string name_;
  vmm::Domain& domain_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace pinfold::cli
