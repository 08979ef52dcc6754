// What a toolstack asks of a running guest, or makes the monitor do to it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "devices/xenstore/domain_requests.hpp"
#include "vmm/domain.hpp"

namespace pinfold::cli {

/// Requests to one guest, for the commands of the control socket. Each error is one line, for the user.
///
/// Most of them are nodes that the guest watches: the answer says that the node is written, and the guest may
/// take its time, or ignore it.
///
/// Concurrency: any thread, without the domain's lock.
class GuestRequests {
 public:
  using Answer = tl::expected<void, std::string>;

  GuestRequests(vmm::Domain& domain, std::shared_ptr<devices::xenstore::Store> store)
      : domain_(domain), store_(std::move(store)) {}

  [[nodiscard]] Answer ask_shutdown(devices::xenstore::ShutdownRequest kind);
  /// Has the guest not taken up the last request yet?
  [[nodiscard]] bool is_shutdown_pending();
  [[nodiscard]] Answer withdraw_shutdown();

  [[nodiscard]] Answer send_sysrq(char key);

  /// How much memory the guest is to have, in KiB: at least 1 MiB, at most its maxmem. The guest can't have
  /// more from now on; it gives back what it has too much when its balloon driver gets to it.
  [[nodiscard]] Answer set_memory_target(std::uint64_t kib);

  /// Asks the guest to use the vCPU or not.
  [[nodiscard]] Answer set_vcpu_online(std::uint32_t vcpu, bool online);

  /// An NMI, which the guest can't refuse to see unless it has no handler.
  [[nodiscard]] Answer trigger_nmi(std::uint32_t vcpu);

 private:
  vmm::Domain& domain_;
  std::shared_ptr<devices::xenstore::Store> store_;
};

}  // namespace pinfold::cli
