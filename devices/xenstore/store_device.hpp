// A guest's access to the store: the ring that start_info names, its event channel, and the guest's own
// nodes.
#pragma once

#include <memory>

#include "devices/device.hpp"
#include "devices/event_channels.hpp"
#include "devices/xenstore/connection.hpp"
#include "devices/xenstore/domain_nodes.hpp"

namespace pinfold::devices::xenstore {

/// Several guests may share one store: each has its own nodes there from start() to detach().
class StoreDevice final : public Device {
 public:
  /// `events` and `guest` outlive this. start() fills in the rings and ports of `nodes`.
  StoreDevice(std::shared_ptr<Store> store, EventChannels& events, vmm::EventTarget& guest, DomainNodes nodes)
      : store_(std::move(store)), events_(events), guest_(guest), nodes_(std::move(nodes)) {}

  void attach(vmm::HypercallTable& hypercalls, BootRings& rings) override;
  [[nodiscard]] tl::expected<void, std::string> start(pvmmu::Held held, const BootRings& rings) override;
  void quiesce() override;
  void detach() override;

 private:
  std::shared_ptr<Store> store_;
  EventChannels& events_;
  vmm::EventTarget& guest_;
  DomainNodes nodes_;
  bool has_nodes_ = false;  ///< Those in the store are this guest's.
  std::shared_ptr<Connection> connection_;
};

}  // namespace pinfold::devices::xenstore
