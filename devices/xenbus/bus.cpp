#include "devices/xenbus/bus.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "pvmmu/service_thread.hpp"

namespace pinfold::devices::xenbus {

void Waker::wake() {
  {
    const std::lock_guard lock(mutex_);
    woken_ = true;
  }
  changed_.notify_one();
}

void Waker::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return std::exchange(woken_, false); });
}

void Bus::add(DeviceName name, std::unique_ptr<Backend> backend) {
  devices_.push_back(std::make_unique<BackendDevice>(*store_, std::move(name), std::move(backend)));
}

tl::expected<void, std::string> Bus::start(pvmmu::Held, const BootRings&) {
  if (devices_.empty()) return {};
  client_ = store_->add_client(monitor_domain, waker_, xenstore::EventStyle::one_for_each_watch);
  watching_ = true;
  for (const auto& device : devices_) {
    if (!device->publish()) return tl::unexpected(std::string("xenstore refuses a device's nodes"));
    watch(device->name());
  }
  thread_ = service_thread(ThreadKind::io, [this] { run(); });
  return {};
}

void Bus::watch(const DeviceName& name) {
  const xenstore::Path state = name.frontend_folder().child("state");
  // Refused only for a second device of that name.
  (void)store_->watch(client_, state.text(), state.text());
}

void Bus::run() {
  for (;;) {
    const bool drained = drain_events();
    bool stopping = false;
    {
      const std::lock_guard lock(mutex_);
      stopping = stopping_;
    }
    if (!stopping) {
      for (const auto& device : devices_) device->look();
    } else {
      for (const auto& device : devices_) device->shut();
      if (all_disconnected()) break;
    }
    if (drained) waker_->wait();
  }
  const std::lock_guard lock(mutex_);
  disconnected_ = true;
  over_.notify_all();
}

/// An event says that something changed; what, each device finds out itself. So an event that the store
/// drops, because too many wait, is not missed. All have to be taken before the devices look: one that waits
/// keeps an equal one from waking this thread.
bool Bus::drain_events() {
  constexpr int at_a_time = 4096;
  for (int n = 0; n < at_a_time; ++n)
    if (!store_->next_event(client_)) return true;
  return false;
}

bool Bus::all_disconnected() {
  return std::all_of(devices_.begin(), devices_.end(), [](const auto& d) { return d->is_disconnected(); });
}

std::vector<DeviceCounts> Bus::counts() const {
  std::vector<DeviceCounts> all;
  for (const auto& device : devices_) all.push_back(device->counts());
  return all;
}

void Bus::quiesce() {
  if (!thread_.joinable()) return;
  std::unique_lock lock(mutex_);
  stopping_ = true;
  waker_->wake();
  if (!over_.wait_for(lock, patience, [this] { return disconnected_; }))
    spdlog::warn("disk transfers are still on their way after {} s; the program waits for them",
                 patience.count());
}

void Bus::detach() {
  if (thread_.joinable()) {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    waker_->wake();
    thread_.join();
  }
  for (const auto& device : devices_) device->remove_nodes();
  devices_.clear();
  if (std::exchange(watching_, false)) store_->remove_client(client_);
}

}  // namespace pinfold::devices::xenbus
