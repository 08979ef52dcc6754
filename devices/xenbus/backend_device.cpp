#include "devices/xenbus/backend_device.hpp"

#include <spdlog/spdlog.h>

#include <utility>

namespace pinfold::devices::xenbus {
namespace {

using xenstore::Path;
using xenstore::Permissions;

}  // namespace

Status BackendDevice::publish() {
  if (auto written = write_folders(); !written) return written;
  offer();
  backend_->start();
  return {};
}

/// Permissions as those of libxl: each end owns its folder, and the other may read it. All at once: a guest's
/// driver takes a device as soon as that has a state, and needs the other nodes then (Linux,
/// drivers/xen/xenbus/xenbus_probe.c: xenbus_probe_node()).
Status BackendDevice::write_folders() {
  const Permissions ours = owned_and_read(monitor_domain, name().frontend),
                    theirs = owned_and_read(name().frontend, monitor_domain);
  const Path back = name().backend_folder(), front = name().frontend_folder();
  DeviceNodes of_back = backend_->backend_nodes(), of_front = backend_->frontend_nodes();
  of_back.insert(of_back.begin(), {{"frontend", front.text()},
                                   {"frontend-id", std::to_string(name().frontend.raw())},
                                   {"online", "1"},
                                   {"state", text_of(state_)}});
  of_front.insert(of_front.begin(), {{"backend", back.text()},
                                     {"backend-id", std::to_string(monitor_domain.raw())},
                                     {"state", text_of(BusState::initialising)}});
  std::vector<xenstore::NodeWrite> writes;
  add_folder(writes, back, std::move(of_back), ours);
  writes.push_back({front.parent(), "", ours});
  add_folder(writes, front, std::move(of_front), theirs);
  return store_.write(std::move(writes));
}

void BackendDevice::look(Clock::time_point now) {
  if (state_ == BusState::connected) {
    if (const auto reason = backend_->failure()) fail_with(*reason);
  }
  if (departure() != Departure::none) return leave(now);
  if (state_ == BusState::connected) tell_news(now);
  switch (frontend_state()) {
    case BusState::initialising:
      if (state_ == BusState::connected) backend_->disconnect();
      if (state_ != BusState::init_wait && backend_->is_disconnected()) offer();
      break;
    case BusState::initialised:
    case BusState::connected:
      if (state_ == BusState::init_wait) connect();
      break;
    case BusState::closing: begin_closing(); break;
    case BusState::closed:
    case BusState::unknown:
      begin_closing();
      if (state_ == BusState::closing && backend_->is_disconnected()) set_state(BusState::closed);
      break;
    case BusState::init_wait:
    case BusState::reconfiguring:
    case BusState::reconfigured:
      if (state_ != BusState::closing && state_ != BusState::closed)
        fail_with("the frontend is in a state that frontends don't have");
      break;
  }
}

std::optional<BackendDevice::Clock::time_point> BackendDevice::next_look(Clock::time_point now) const {
  if (departure() == Departure::none) return state_ == BusState::connected ? quiet_until_ : std::nullopt;
  if ((leaves_at_ || hushing_) && !gone_) return now + between_looks;
  return std::nullopt;
}

/// Does the frontend use the device, or say that it is about to end that?
bool BackendDevice::is_held_by(BusState frontend) const {
  switch (frontend) {
    case BusState::unknown:
    case BusState::initialising:
    case BusState::closed: return false;
    case BusState::closing: return true;
    case BusState::init_wait:
    case BusState::initialised:
    case BusState::connected:
    case BusState::reconfiguring:
    case BusState::reconfigured: break;
  }
  // One that was never connected, or broke its ring, has nothing to lose.
  return state_ == BusState::connected;
}

void BackendDevice::leave(Clock::time_point now) {
  if (gone_) return;
  if (!std::exchange(announced_, true)) write({{"online", "0"}, {"state", text_of(BusState::closing)}});
  if (departure() == Departure::asked && !may_end_connection(now)) return;
  if (state_ != BusState::closing) {
    backend_->disconnect();
    set_state(BusState::closing);
  }
  if (!backend_->is_disconnected()) return;
  set_state(BusState::closed);
  remove_nodes();
  gone_ = true;
}

/// A frontend that is Closed may still have the device: it gives it up when it finds that the nodes are gone,
/// and its driver may wait then for requests that it has yet to send. So the nodes go first, and the
/// connection when the frontend has closed its event channels. A new device of this name comes after that: a
/// frontend that finds the nodes there again takes it for the old one.
bool BackendDevice::may_end_connection(Clock::time_point now) {
  if (leaves_at_) return backend_->see_off() || now >= *leaves_at_;
  hushing_ = false;
  const BusState frontend = frontend_state();
  if (is_held_by(frontend)) {
    if (frontend == BusState::closing) begin_closing();
    return false;
  }
  if (state_ != BusState::connected || frontend != BusState::closed) return true;
  hushing_ = !backend_->hush();
  if (hushing_) return false;
  set_state(BusState::closed);
  remove_nodes();
  leaves_at_ = now + patience;
  return backend_->see_off();
}

void BackendDevice::remove_nodes() {
  removed_ = true;
  (void)store_.remove(name().backend_folder());
  (void)store_.remove(name().frontend_folder());
  (void)store_.remove(name().error_node().parent());
}

BusState BackendDevice::frontend_state() {
  const auto text = store_.read(name().frontend_folder().child("state"));
  return text ? parse_state(*text) : BusState::unknown;
}

void BackendDevice::offer() {
  (void)store_.remove(name().error_node().parent());
  write(backend_->features());
  set_state(BusState::init_wait);
}

void BackendDevice::connect() {
  const auto nodes = backend_->connect(FrontendNodes(store_, name().frontend_folder()));
  if (!nodes) return fail_with(nodes.error());
  write(*nodes);
  set_state(BusState::connected);
}

void BackendDevice::begin_closing() {
  if (state_ == BusState::closing || state_ == BusState::closed) return;
  backend_->disconnect();
  set_state(BusState::closing);
}

/// As Linux's backend does it: a frontend that finds the state Connected again reads the nodes anew
/// (drivers/block/xen-blkfront.c). One that is not connected reads them when it connects.
void BackendDevice::tell_news(Clock::time_point now) {
  if (quiet_until_ && now < *quiet_until_) return;
  quiet_until_.reset();
  const DeviceNodes news = backend_->news();
  if (news.empty()) return;
  write(news);
  set_state(BusState::connected);
  quiet_until_ = now + between_news;
}

void BackendDevice::fail_with(const std::string& reason) {
  spdlog::debug("domain {}: {} {}: {}", name().frontend.raw(), name().kind, name().number, reason);
  (void)store_.write(name().error_node(), reason, owned_and_read(monitor_domain, name().frontend));
  begin_closing();
}

void BackendDevice::set_state(BusState state) {
  state_ = state;
  write({{"state", text_of(state)}});
}

/// Below an existing folder, so the permissions are inherited.
void BackendDevice::write(const DeviceNodes& nodes) {
  if (removed_) return;
  const Path folder = name().backend_folder();
  for (const auto& [name, value] : nodes) (void)store_.write(folder.child(name), value);
}

}  // namespace pinfold::devices::xenbus
