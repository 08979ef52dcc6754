#include "devices/xenstore/store_device.hpp"

#include <utility>

namespace pinfold::devices::xenstore {

void StoreDevice::attach(vmm::HypercallTable&, BootRings& rings) {
  rings.store.port = events_.open_monitor_channel([this](vmm::Hypercall& call) {
    return connection_ ? connection_->on_guest_event(call.budget) : Served::all;
  });
}

tl::expected<void, std::string> StoreDevice::start(pvmmu::Held held, const BootRings& rings) {
  auto page = guest_.hold_frame(held, rings.store.frame);
  if (!page) return tl::unexpected(std::string("the xenstore ring can't be held"));
  nodes_.console_ring = rings.console.frame;
  nodes_.console_port = rings.console.port;
  nodes_.store_ring = rings.store.frame;
  nodes_.store_port = rings.store.port;
  if (auto filled = populate(*store_, nodes_); !filled)
    return tl::unexpected(std::string("xenstore refuses the guest's name or UUID"));
  has_nodes_ = true;
  connection_ =
      Connection::create(store_, nodes_.domain, std::move(*page),
                         [&events = events_, port = rings.store.port] { events.notify_guest(port); });
  return {};
}

void StoreDevice::quiesce() { store_->tell_shutdown(nodes_.domain); }

void StoreDevice::detach() {
  if (connection_) connection_->close();
  connection_.reset();
  if (has_nodes_) remove_nodes(*store_, nodes_);
  has_nodes_ = false;
}

}  // namespace pinfold::devices::xenstore
