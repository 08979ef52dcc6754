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

void Waker::wait_until(std::chrono::steady_clock::time_point time) {
  std::unique_lock lock(mutex_);
  (void)changed_.wait_until(lock, time, [this] { return woken_; });
  woken_ = false;
}

void Bus::add(std::unique_ptr<BusDevice> device) {
  taken_.insert(key_of(device->name()));
  devices_.push_back(std::move(device));
}

void Bus::add(DeviceName name, std::unique_ptr<Backend> backend) {
  add(std::make_unique<BackendDevice>(*store_, std::move(name), std::move(backend)));
}

tl::expected<void, std::string> Bus::start(pvmmu::Held, const BootRings&) {
  client_ = store_->add_client(monitor_domain, waker_, xenstore::EventStyle::one_for_each_watch);
  watching_ = true;
  for (const auto& device : devices_) {
    if (!device->publish()) return tl::unexpected(std::string("xenstore refuses a device's nodes"));
    watch(*device);
  }
  thread_ = service_thread(ThreadKind::io, [this] { run(); });
  return {};
}

tl::expected<void, std::string> Bus::plug(DeviceName name, std::unique_ptr<Backend> backend) {
  return plug(std::make_unique<BackendDevice>(*store_, std::move(name), std::move(backend)));
}

tl::expected<void, std::string> Bus::plug(std::unique_ptr<BusDevice> device) {
  const Key key = key_of(device->name());
  const auto ending = [] { return tl::unexpected(std::string("the guest is about to end")); };
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return ending();
    if (!taken_.insert(key).second) return tl::unexpected(std::string("the guest has this device already"));
  }
  // Without the lock: what writes to the store wakes those who watch it.
  const bool published = device->publish().has_value();
  if (published) watch(*device);
  std::unique_lock lock(mutex_);
  if (published && !stopping_) {
    arrivals_.push_back(std::move(device));
    lock.unlock();
    waker_->wake();
    return {};
  }
  const bool stopping = stopping_;
  lock.unlock();
  device->remove_nodes();
  device.reset();
  lock.lock();
  taken_.erase(key);
  if (stopping) return ending();
  return tl::unexpected(std::string("xenstore refuses the device's nodes"));
}

bool Bus::unplug(std::string_view kind, std::uint32_t number, Departure how) {
  bool found = false;
  {
    const std::lock_guard lock(mutex_);
    for (const auto* list : {&devices_, &arrivals_})
      for (const auto& device : *list)
        if (device->name().kind == kind && device->name().number == number) {
          device->depart(how);
          found = true;
        }
  }
  if (found) waker_->wake();
  return found;
}

tl::expected<std::uint64_t, std::string> Bus::grow(std::string_view kind, std::uint32_t number,
                                                   std::optional<std::uint64_t> bytes) {
  tl::expected<std::uint64_t, std::string> done = tl::unexpected(std::string("the guest has no such device"));
  {
    const std::lock_guard lock(mutex_);
    for (const auto* list : {&devices_, &arrivals_})
      for (const auto& device : *list)
        if (device->name().kind == kind && device->name().number == number) done = device->grow(bytes);
  }
  waker_->wake();
  return done;
}

bool Bus::has(std::string_view kind, std::uint32_t number) const {
  const std::lock_guard lock(mutex_);
  return taken_.contains(Key(kind, number));
}

std::vector<DeviceStatus> Bus::devices() const {
  std::vector<DeviceStatus> all;
  const std::lock_guard lock(mutex_);
  for (const auto* list : {&devices_, &arrivals_})
    for (const auto& device : *list) all.push_back({device->name(), device->state(), device->departure()});
  return all;
}

void Bus::take_arrivals() {
  const std::lock_guard lock(mutex_);
  for (auto& device : arrivals_) devices_.push_back(std::move(device));
  arrivals_.clear();
}

void Bus::look_at_all() {
  for (std::size_t place = 0; place < devices_.size();) {
    devices_[place]->look();
    if (devices_[place]->is_gone())
      remove(place);
    else
      ++place;
  }
}

/// Its name is free only when nothing of it is left: the next device of that name may have the same image.
void Bus::remove(std::size_t place) {
  std::unique_ptr<BusDevice> device;
  const Key key = key_of(devices_[place]->name());
  unwatch(*devices_[place]);
  devices_[place]->remove_nodes();
  {
    const std::lock_guard lock(mutex_);
    device = std::move(devices_[place]);
    devices_.erase(devices_.begin() + static_cast<std::ptrdiff_t>(place));
  }
  device.reset();
  const std::lock_guard lock(mutex_);
  taken_.erase(key);
}

/// By a token of the device's own: several watch one special name.
std::string Bus::token_of(const DeviceName& name) { return name.frontend_folder().text(); }

void Bus::watch(const BusDevice& device) {
  // Refused only for a second device of that name.
  for (const std::string& name : device.watched())
    (void)store_->watch(client_, name, token_of(device.name()));
}

void Bus::unwatch(const BusDevice& device) {
  for (const std::string& name : device.watched())
    (void)store_->unwatch(client_, name, token_of(device.name()));
}

void Bus::run() {
  for (;;) {
    const bool drained = drain_events();
    bool stopping = false;
    {
      const std::lock_guard lock(mutex_);
      stopping = stopping_;
    }
    take_arrivals();
    if (!stopping) {
      look_at_all();
    } else {
      for (const auto& device : devices_) device->shut();
      if (all_disconnected()) break;
    }
    if (drained) rest();
  }
  const std::lock_guard lock(mutex_);
  disconnected_ = true;
  over_.notify_all();
}

void Bus::rest() {
  std::optional<BackendDevice::Clock::time_point> next;
  const auto now = BackendDevice::Clock::now();
  for (const auto& device : devices_)
    if (const auto its = device->next_look(now)) next = std::min(next.value_or(*its), *its);
  if (next)
    waker_->wait_until(*next);
  else
    waker_->wait();
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
  const std::lock_guard lock(mutex_);
  for (const auto* list : {&devices_, &arrivals_})
    for (const auto& device : *list) all.push_back(device->counts());
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
  take_arrivals();
  for (const auto& device : devices_) device->remove_nodes();
  decltype(devices_) over;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    over.swap(devices_);
    taken_.clear();
  }
  over.clear();
  if (std::exchange(watching_, false)) store_->remove_client(client_);
}

}  // namespace pinfold::devices::xenbus
