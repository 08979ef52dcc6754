#include "cli/run/confine_monitor.hpp"

#include <algorithm>

#include "cli/console/server.hpp"
#include "cli/control/server.hpp"
#include "cli/control/store_server.hpp"
#include "cli/hotplug/hot_plug.hpp"
#include "devices/net/interface.hpp"
#include "sandbox/confine.hpp"

namespace pinfold::cli {

std::uint64_t later_descriptors(const RunOptions& options) {
  const GuestConfig& guest = options.guest;
  constexpr std::uint64_t of_any_guest = 64, of_a_disk = 4, of_its_queue = 4;
  // Of a network interface: a peer that connects, and what wakes each of its queues.
  const std::uint64_t of_an_interface =
      1 + std::min<std::uint64_t>(guest.all_vcpus(), devices::net::Interface::most_queues);
  const std::uint64_t vcpus = guest.all_vcpus();
  const std::uint64_t of_its_log = options.console.log.empty() ? 0 : 1 + options.console.old_logs;
  return of_any_guest + of_its_log + HotPlug::most * HotPlug::descriptors_of_each + vcpus +
         guest.disks.size() * (of_a_disk + of_its_queue * vcpus) + guest.vifs.size() * of_an_interface +
         ControlServer::most_clients * (1 + most_descriptors) + StoreServer::most_clients +
         ConsoleServer::most_clients;
}

Result<void> can_confine_monitor(const RunOptions& options) {
  if (auto possible = sandbox::confinable(options.sandbox.mode); !possible)
    return failure(exit_no_usable_kvm, possible.error());
  return {};
}

Result<void> confine_monitor(const MachineOptions& guests) {
  std::uint64_t descriptors = 0;
  for (const RunOptions& guest : guests) descriptors += later_descriptors(guest);
  const SandboxOptions& options = guests.front().sandbox;
  const sandbox::Policy policy{options.mode, options.user, descriptors, descriptors_for_joining};
  if (auto confined = sandbox::confine(policy); !confined)
    return failure(exit_no_usable_kvm, confined.error());
  return {};
}

}  // namespace pinfold::cli
