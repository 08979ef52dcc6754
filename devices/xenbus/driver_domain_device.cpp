#include "devices/xenbus/driver_domain_device.hpp"

#include <array>
#include <utility>

namespace pinfold::devices::xenbus {

using xenstore::Path;
using xenstore::Permissions;

/// All at once, as those of the monitor's own devices: a backend's driver, too, takes a device as soon as
/// that has a state.
Status DriverDomainDevice::publish() {
  const Permissions backends = owned_and_read(name().backend, name().frontend),
                    frontends = owned_and_read(name().frontend, name().backend);
  const Path back = name().backend_folder(), front = name().frontend_folder();
  DeviceNodes of_back = folders_.of_backend, of_front = folders_.of_frontend;
  const DeviceNode state{"state", text_of(BusState::initialising)};
  of_back.insert(of_back.begin(), {{"frontend", front.text()},
                                   {"frontend-id", std::to_string(name().frontend.raw())},
                                   {"online", "1"},
                                   state});
  of_front.insert(of_front.begin(),
                  {{"backend", back.text()}, {"backend-id", std::to_string(name().backend.raw())}, state});
  std::vector<xenstore::NodeWrite> writes;
  add_folder(writes, back, std::move(of_back), backends);
  writes.push_back({front.parent(), "", owned_and_read(monitor_domain, name().frontend)});
  add_folder(writes, front, std::move(of_front), frontends);
  // Its owner may have written there already.
  (void)store_.remove(back);
  return store_.write(std::move(writes));
}

std::vector<std::string> DriverDomainDevice::watched() const {
  return {name().frontend_folder().child("state").text(), name().backend_folder().child("state").text(),
          "@releaseDomain"};
}

void DriverDomainDevice::look(Clock::time_point now) {
  if (gone_) return;
  if (backend_has_ended()) {
    if (leaving() == Departure::none && !announced_) return show_closed();
    remove_nodes();
    gone_ = true;
    return;
  }
  state_ = read_state(name().backend_folder());
  was_used_ = was_used_ || (state_ != BusState::unknown && state_ != BusState::initialising);
  if (leaving() != Departure::none) leave(now);
}

bool DriverDomainDevice::backend_has_ended() {
  ended_ = ended_ || !store_.is_introduced(name().backend);
  return ended_;
}

/// The end of its domain removes the folder; the last of these writes comes after that, because each change
/// of the state is an event.
void DriverDomainDevice::show_closed() {
  state_ = BusState::closed;
  const Path back = name().backend_folder();
  const std::string closed = text_of(BusState::closed);
  if (store_.read(back.child("state")).value_or("") == closed) return;
  const Permissions ours = owned_and_read(monitor_domain, name().frontend);
  (void)store_.write(back, "", ours);
  (void)store_.write(back.child("online"), "0", ours);
  (void)store_.write(back.child("state"), closed, ours);
}

/// Linux's backends end with their frontend then, and do not wait for the next one.
void DriverDomainDevice::begin_leaving() {
  if (std::exchange(announced_, true)) return;
  const Path back = name().backend_folder();
  // Of a device that no driver has, nobody would ever write another state.
  if (!was_used_) return;
  const Permissions backends = owned_and_read(name().backend, name().frontend);
  (void)store_.write(back.child("online"), "0", backends);
  (void)store_.write(back.child("state"), text_of(BusState::closing), backends);
}

void DriverDomainDevice::leave(Clock::time_point now) {
  begin_leaving();
  if (leaving() == Departure::forced) take_from_frontend(now);
  switch (read_state(name().frontend_folder())) {
    case BusState::unknown:
    case BusState::initialising:
    case BusState::closed: take_from_frontend(now); break;
    case BusState::init_wait:
    case BusState::initialised:
    case BusState::connected:
    case BusState::closing:
    case BusState::reconfiguring:
    case BusState::reconfigured: return;
  }
  const BusState back = read_state(name().backend_folder());
  const bool has_let_go = !was_used_ || back == BusState::closed || back == BusState::unknown;
  if (!has_let_go && now < *leaves_at_) return;
  remove_nodes();
  gone_ = true;
}

/// Linux's backends let go of what they have of the frontend when its nodes are gone.
void DriverDomainDevice::take_from_frontend(Clock::time_point now) {
  if (leaves_at_) return;
  leaves_at_ = now + patience;
  (void)store_.remove(name().frontend_folder());
}

/// The guest has the device to its end: this is no departure.
void DriverDomainDevice::shut() { shut_ = true; }

bool DriverDomainDevice::is_disconnected() {
  look(Clock::now());
  return gone_;
}

void DriverDomainDevice::remove_nodes() {
  (void)store_.remove(name().backend_folder());
  (void)store_.remove(name().frontend_folder());
  if (backend_has_ended()) remove_empty_parents();
}

/// Of a domain that has ended, nothing stays.
void DriverDomainDevice::remove_empty_parents() {
  const auto client = store_.add_client(monitor_domain, {});
  Path folder = name().backend_folder().parent();
  for (int level = 0; level < 4; ++level, folder = folder.parent()) {
    // Another device may come between the two.
    const auto tx = store_.start_transaction(client);
    if (!tx) break;
    const auto listing = store_.directory(client, *tx, folder);
    const bool is_empty = listing && listing->names.empty();
    if (is_empty) (void)store_.remove(client, *tx, folder);
    if (!store_.end_transaction(client, *tx, is_empty) || !is_empty) break;
  }
  store_.deliver();
  store_.remove_client(client);
}

BusState DriverDomainDevice::read_state(const Path& folder) {
  const auto text = store_.read(folder.child("state"));
  return text ? parse_state(*text) : BusState::unknown;
}

}  // namespace pinfold::devices::xenbus
