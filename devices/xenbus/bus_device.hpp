// A device as the bus has it, whoever its backend is.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "devices/xenbus/backend.hpp"
#include "devices/xenbus/bus_state.hpp"

namespace pinfold::devices::xenbus {

/// Whether a device is to go, while its guest runs.
enum class Departure : std::uint8_t {
  none,
  asked,   ///< The frontend is asked to close, and the device goes when it has.
  forced,  ///< The device goes when nothing of the guest's is in use, whatever the frontend does.
};

/// One device of a guest: its nodes in the store, and its state.
///
/// Concurrency: used by one thread at a time, except for depart(), departure(), state(), counts()
/// and grow().
class BusDevice {
 public:
  using Clock = std::chrono::steady_clock;

  explicit BusDevice(DeviceName name) : name_(std::move(name)) {}
  BusDevice(const BusDevice&) = delete;
  BusDevice& operator=(const BusDevice&) = delete;
  virtual ~BusDevice() = default;

  /// Writes both folders as a toolstack does.
  [[nodiscard]] virtual Status publish() = 0;
  /// Names of the store of which each event is a reason for look(): paths, or a special name.
  [[nodiscard]] virtual std::vector<std::string> watched() const = 0;
  /// Looks at the other end, and does what follows from it.
  virtual void look(Clock::time_point now) = 0;
  void look() { look(Clock::now()); }
  /// When look() has to be called although nothing happens; nothing: there is no need.
  [[nodiscard]] virtual std::optional<Clock::time_point> next_look(Clock::time_point now) const = 0;
  /// Ends the connection for good: the guest is over.
  virtual void shut() = 0;
  [[nodiscard]] virtual bool is_disconnected() = 0;
  /// The device is to go; look() does what follows. A forced departure is never taken back.
  void depart(Departure how);
  [[nodiscard]] Departure departure() const { return departure_; }
  /// Has it departed? Then it may be destroyed.
  [[nodiscard]] virtual bool is_gone() const = 0;
  /// Removes both folders. Nothing is written after that.
  virtual void remove_nodes() = 0;
  [[nodiscard]] const DeviceName& name() const { return name_; }
  /// The backend's.
  [[nodiscard]] virtual BusState state() const = 0;
  [[nodiscard]] virtual DeviceCounts counts() const = 0;
  /// Backend::grow().
  [[nodiscard]] virtual tl::expected<std::uint64_t, std::string> grow(std::optional<std::uint64_t> bytes) = 0;

 private:
  DeviceName name_;
  std::atomic<Departure> departure_ = Departure::none;
};

}  // namespace pinfold::devices::xenbus
