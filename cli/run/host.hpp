// What the guests of one process share.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "cli/config/guest_config.hpp"
#include "cli/hotplug/mac_addresses.hpp"
#include "cli/run/domain_names.hpp"
#include "cli/run/guest.hpp"
#include "cli/run/host_options.hpp"
#include "devices/event_channels.hpp"
#include "devices/grantor.hpp"
#include "devices/xenstore/node_watcher.hpp"
#include "devices/xenstore/store.hpp"
#include "vmm/host_traits.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/memory/machine.hpp"

namespace pinfold::cli {

/// This host's KVM, open, and what the probe found out about it. Nothing of it needs a path any more.
struct ProbedKvm {
  vmm::Kvm kvm;
  vmm::HostTraits traits;

  /// An error is one line, and means that no guest can run here.
  [[nodiscard]] static tl::expected<ProbedKvm, std::string> open(const HostOptions& options);
};

/// KVM and what the probe found out about it, the machine whose frames the guests own, the switch that
/// connects their event channels, and their store. It makes guests, which it outlives.
///
/// The machine grows by what each new guest needs, also while others run: address space is reserved for the
/// largest machine, and the VMs of the others get memory slots beside theirs. Each guest can have all that it
/// may ever have, whatever the others do. What a guest left when it ended is used before the machine grows.
class Host {
 public:
  /// An error is one line, and means that no guest can run here.
  [[nodiscard]] static tl::expected<std::unique_ptr<Host>, std::string> create(ProbedKvm kvm);

  /// An empty domain, with its devices attached. `config` is completed(). An error leaves the other guests as
  /// they were. To be called by one thread at a time.
  [[nodiscard]] tl::expected<std::unique_ptr<Guest>, std::string> make_guest(const GuestConfig& config,
                                                                             GuestLinks links);

  [[nodiscard]] const vmm::Kvm& kvm() const { return kvm_; }
  [[nodiscard]] const vmm::HostTraits& traits() const { return traits_; }
  [[nodiscard]] vmm::Machine& machine() { return *machine_; }
  [[nodiscard]] const std::shared_ptr<devices::EventSwitch>& event_switch() const { return event_switch_; }
  /// Who grants what to whom.
  [[nodiscard]] const std::shared_ptr<devices::GrantNeighbours>& grants() const { return grants_; }
  [[nodiscard]] const std::shared_ptr<devices::xenstore::Store>& store() const { return store_; }
  /// For devices whose backend is another guest of the machine.
  [[nodiscard]] const std::shared_ptr<DomainNames>& domain_names() const { return domain_names_; }
  /// Of all interfaces in the machine.
  [[nodiscard]] const std::shared_ptr<MacAddresses>& mac_addresses() const { return mac_addresses_; }
  /// Watches of devices on that store.
  [[nodiscard]] devices::xenstore::NodeWatcher& node_watcher() { return node_watcher_; }

 private:
  explicit Host(ProbedKvm kvm) : kvm_(std::move(kvm.kvm)), traits_(kvm.traits) {}

  vmm::Kvm kvm_;
  vmm::HostTraits traits_;
  std::unique_ptr<vmm::Machine> machine_;
  std::shared_ptr<devices::EventSwitch> event_switch_ = std::make_shared<devices::EventSwitch>();
  std::shared_ptr<devices::GrantNeighbours> grants_ = std::make_shared<devices::GrantNeighbours>();
  std::shared_ptr<devices::xenstore::Store> store_ = std::make_shared<devices::xenstore::Store>();
  std::shared_ptr<DomainNames> domain_names_ = std::make_shared<DomainNames>();
  std::shared_ptr<MacAddresses> mac_addresses_ = std::make_shared<MacAddresses>();
  devices::xenstore::NodeWatcher node_watcher_{store_};
  DomId last_domain_{0};
};

}  // namespace pinfold::cli
