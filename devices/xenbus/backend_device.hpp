// The state machine of a backend (xen/io/xenbus.h, "State diagrams" in xen/io/blkif.h).
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "devices/xenbus/bus_device.hpp"

namespace pinfold::devices::xenbus {

/// A device whose backend is the monitor: its nodes in the store, its state, and its Backend.
///
/// The state follows that of the frontend, which the guest may write at any time:
///
///     the frontend is          this backend
///     Initialising             ends a connection that there was, and offers a new one: InitWait
///     Initialised, Connected   in InitWait: connects, and is Connected; else does nothing
///     Closing                  ends the connection, and is Closing
///     Closed, or has no state  ends the connection, and is Closed when nothing of it is left
///     anything else            fails
///
/// A failure writes its reason to the error node, ends the connection, and is Closing. After that, as after
/// Closed, a frontend that begins again with Initialising finds the device as if it were new. So nothing that
/// a frontend does, or leaves undone when it dies, makes the device useless for the next one.
///
/// A device that is to depart says so as libxl does, by `online` 0 and the state Closing. It has the
/// connection until the frontend is Closed and has closed its event channels, offers no new one, and
/// is_gone() when nothing of one is left.
class BackendDevice final : public BusDevice {
 public:
  /// How long a frontend that is Closed may keep its event channels when the device departs.
  static constexpr std::chrono::seconds patience{5};
  /// While a frontend that is Closed has event channels to close, which say nothing when they are.
  static constexpr std::chrono::milliseconds between_looks{5};
  /// Between the Backend::news() that a frontend is told. What makes them may be on the host's side and out
  /// of control, and each is a watch event for the guest.
  static constexpr std::chrono::milliseconds between_news{100};

  /// `store` outlives this.
  BackendDevice(xenstore::Store& store, DeviceName name, std::unique_ptr<Backend> backend)
      : BusDevice(std::move(name)), store_(store), backend_(std::move(backend)) {}

  /// Also offers the device, and starts the backend's threads.
  [[nodiscard]] Status publish() override;
  [[nodiscard]] std::vector<std::string> watched() const override {
    return {name().frontend_folder().child("state").text()};
  }
  using BusDevice::look;
  void look(Clock::time_point now) override;
  [[nodiscard]] std::optional<Clock::time_point> next_look(Clock::time_point now) const override;
  void shut() override {
    backend_->disconnect();
    quiet_until_.reset();
  }
  [[nodiscard]] bool is_disconnected() override { return backend_->is_disconnected(); }
  [[nodiscard]] bool is_gone() const override { return gone_; }
  void remove_nodes() override;
  [[nodiscard]] BusState state() const override { return state_; }
  [[nodiscard]] DeviceCounts counts() const override { return backend_->counts(); }
  [[nodiscard]] tl::expected<std::uint64_t, std::string> grow(std::optional<std::uint64_t> bytes) override {
    return backend_->grow(bytes);
  }

 private:
  [[nodiscard]] Status write_folders();
  [[nodiscard]] BusState frontend_state();
  void offer();
  void connect();
  void begin_closing();
  void tell_news(Clock::time_point now);
  void leave(Clock::time_point now);
  [[nodiscard]] bool may_end_connection(Clock::time_point now);
  [[nodiscard]] bool is_held_by(BusState frontend) const;
  void fail_with(const std::string& reason);
  void set_state(BusState state);
  void write(const DeviceNodes& nodes);

  xenstore::Store& store_;
  std::unique_ptr<Backend> backend_;
  std::atomic<BusState> state_ = BusState::initialising;
  bool announced_ = false;  ///< The frontend was asked to close.
  bool removed_ = false;    ///< Its nodes.
  bool gone_ = false;
  bool hushing_ = false;  ///< The backend is about to raise no more events (Backend::hush()).
  std::optional<Clock::time_point>
      leaves_at_;  ///< When the frontend's event channels are waited for no more.
  std::optional<Clock::time_point> quiet_until_;  ///< No news are told before.
};

}  // namespace pinfold::devices::xenbus
