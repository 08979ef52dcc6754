// All devices of one guest.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "devices/device.hpp"
#include "devices/xenbus/backend_device.hpp"

namespace pinfold::devices::xenbus {

/// Wakes the bus's thread. Any thread may call it, also after the bus is gone.
class Waker final : public xenstore::EventListener {
 public:
  void wake();
  void events_ready() override { wake(); }
  /// Waits until wake() is called; returns at once if it was since the last wait.
  void wait();
  void wait_until(std::chrono::steady_clock::time_point time);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
};

/// A device as the bus has it now.
struct DeviceStatus {
  DeviceName name;
  BusState state;  ///< The backend's.
  Departure departure;
};

/// A thread of the bus's own watches the states of all frontends, as a client of the store, and does what
/// follows from them: never under the domain's lock. A guest that writes states without end keeps this thread
/// busy, and nobody else.
///
/// Devices come and go while the guest runs: any thread plugs one in, which the bus's thread then serves, and
/// asks for the end of one, which the bus's thread carries out. Nobody waits for the guest under a lock, or
/// in a call of these.
class Bus final : public Device {
 public:
  explicit Bus(std::shared_ptr<xenstore::Store> store) : store_(std::move(store)) {}
  ~Bus() override { detach(); }

  /// Before start(). A guest has one device of a name.
  void add(std::unique_ptr<BusDevice> device);
  void add(DeviceName name, std::unique_ptr<Backend> backend);
  /// After start(), by any thread: the same while the guest runs. An error is one line: the guest has a
  /// device of this name, or is about to end.
  [[nodiscard]] tl::expected<void, std::string> plug(std::unique_ptr<BusDevice> device);
  [[nodiscard]] tl::expected<void, std::string> plug(DeviceName name, std::unique_ptr<Backend> backend);
  /// By any thread: begins a device's departure. False: there is no such device.
  [[nodiscard]] bool unplug(std::string_view kind, std::uint32_t number, Departure how);
  /// By any thread: Backend::grow(). An error is one line.
  [[nodiscard]] tl::expected<std::uint64_t, std::string> grow(std::string_view kind, std::uint32_t number,
                                                              std::optional<std::uint64_t> bytes);
  /// By any thread: is the name a device's? It is until nothing of the device is left, its image included.
  [[nodiscard]] bool has(std::string_view kind, std::uint32_t number) const;
  /// By any thread.
  [[nodiscard]] std::vector<DeviceStatus> devices() const;
  /// What backends call when something about them has changed.
  [[nodiscard]] std::shared_ptr<Waker> waker() const { return waker_; }

  void attach(vmm::HypercallTable&, BootRings&) override {}
  [[nodiscard]] tl::expected<void, std::string> start(pvmmu::Held held, const BootRings& rings) override;
  /// Disconnects all devices, and waits until nothing is on its way, at most `patience`.
  void quiesce() override;
  /// Waits for what is left, because the host reads or writes guest memory for it, and removes the nodes.
  void detach() override;

  /// Of each device; until detach(), by any thread.
  [[nodiscard]] std::vector<DeviceCounts> counts() const;

  static constexpr std::chrono::seconds patience{30};

 private:
  /// What tells the devices of the guest apart.
  using Key = std::pair<std::string, std::uint32_t>;
  [[nodiscard]] static Key key_of(const DeviceName& name) { return {name.kind, name.number}; }

  [[nodiscard]] static std::string token_of(const DeviceName& name);
  void run();
  void take_arrivals();
  void look_at_all();
  void rest();
  void remove(std::size_t place);
  /// False: the guest goes on making events.
  [[nodiscard]] bool drain_events();
  void watch(const BusDevice& device);
  void unwatch(const BusDevice& device);
  [[nodiscard]] bool all_disconnected();

  std::shared_ptr<xenstore::Store> store_;
  std::shared_ptr<Waker> waker_ = std::make_shared<Waker>();
  /// The bus's thread changes the list, with the mutex, and is the only one to use the devices but for their
  /// departure and what can be read of them.
  std::vector<std::unique_ptr<BusDevice>> devices_;
  xenstore::ClientId client_;
  bool watching_ = false;
  mutable std::mutex mutex_;
  std::condition_variable over_;
  std::vector<std::unique_ptr<BusDevice>> arrivals_;  ///< Guarded by the mutex, as the next three.
  std::set<Key> taken_;  ///< Names of devices: from before their nodes are there until after they are gone.
  bool stopping_ = false;
  bool disconnected_ = false;
  std::thread thread_;
};

}  // namespace pinfold::devices::xenbus
