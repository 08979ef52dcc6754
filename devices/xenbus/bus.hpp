// All devices of one guest whose backend is the monitor.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
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

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
};

/// A thread of the bus's own watches the states of all frontends, as a client of the store, and does what
/// follows from them: never under the domain's lock. A guest that writes states without end keeps this thread
/// busy, and nobody else.
class Bus final : public Device {
 public:
  explicit Bus(std::shared_ptr<xenstore::Store> store) : store_(std::move(store)) {}
  ~Bus() override { detach(); }

  /// Before start(). A guest has one device of a name.
  void add(DeviceName name, std::unique_ptr<Backend> backend);
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
  void run();
  /// False: the guest goes on making events.
  [[nodiscard]] bool drain_events();
  void watch(const DeviceName& name);
  [[nodiscard]] bool all_disconnected();

  std::shared_ptr<xenstore::Store> store_;
  std::shared_ptr<Waker> waker_ = std::make_shared<Waker>();
  std::vector<std::unique_ptr<BackendDevice>> devices_;
  xenstore::ClientId client_;
  bool watching_ = false;
  std::mutex mutex_;
  std::condition_variable over_;
  bool stopping_ = false;      ///< Guarded by the mutex.
  bool disconnected_ = false;  ///< Guarded by the mutex.
  std::thread thread_;
};

}  // namespace pinfold::devices::xenbus
