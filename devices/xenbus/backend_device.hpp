// The state machine of a backend (xen/io/xenbus.h, "State diagrams" in xen/io/blkif.h).
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "devices/xenbus/backend.hpp"
#include "devices/xenbus/bus_state.hpp"

namespace pinfold::devices::xenbus {

/// Whether a device is to go, while its guest runs.
enum class Departure : std::uint8_t {
  none,
  asked,   ///< The frontend is asked to close, and the device goes when it has.
  forced,  ///< The device goes when nothing of the guest's is in use, whatever the frontend does.
};

/// One device: its nodes in the store, its state, and its Backend.
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
/// A device that is to depart says so as libxl does, by `online` 0 and the state Closing. It serves the
/// frontend until that is Closed and has closed its event channels, offers no new connection, and is_gone()
/// when nothing of one is left.
///
/// Concurrency: used by one thread at a time, except for depart(), departure(), state(), counts()
/// and grow().
class BackendDevice {
 public:
  using Clock = std::chrono::steady_clock;
  /// How long a frontend that is Closed may keep its event channels when the device departs.
  static constexpr std::chrono::seconds patience{5};
  /// While a frontend that is Closed has event channels to close, which say nothing when they are.
  static constexpr std::chrono::milliseconds between_looks{5};
  /// Between the Backend::news() that a frontend is told. What makes them may be on the host's side and out
  /// of control, and each is a watch event for the guest.
  static constexpr std::chrono::milliseconds between_news{100};

  /// `store` outlives this.
  BackendDevice(xenstore::Store& store, DeviceName name, std::unique_ptr<Backend> backend)
      : store_(store), name_(std::move(name)), backend_(std::move(backend)) {}

  /// Writes both folders as a toolstack does, offers the device, and starts the backend's threads.
  [[nodiscard]] Status publish();
  /// Looks at the frontend's state and at the backend, and does what follows from them.
  void look(Clock::time_point now = Clock::now());
  /// Ends the connection for good: the guest is over.
  void shut() {
    backend_->disconnect();
    quiet_until_.reset();
  }
  [[nodiscard]] bool is_disconnected() { return backend_->is_disconnected(); }
  /// The device is to go; look() does what follows. A forced departure is never taken back.
  void depart(Departure how);
  [[nodiscard]] Departure departure() const { return departure_; }
  /// Has it departed? Then it may be destroyed.
  [[nodiscard]] bool is_gone() const { return gone_; }
  /// When look() has to be called although nothing happens; nothing: there is no need.
  [[nodiscard]] std::optional<Clock::time_point> next_look(Clock::time_point now) const;
  /// Removes both folders. Nothing is written after that.
  void remove_nodes();
  [[nodiscard]] const DeviceName& name() const { return name_; }
  [[nodiscard]] BusState state() const { return state_; }
  [[nodiscard]] DeviceCounts counts() const { return backend_->counts(); }
  [[nodiscard]] tl::expected<std::uint64_t, std::string> grow(std::optional<std::uint64_t> bytes) {
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
  DeviceName name_;
  std::unique_ptr<Backend> backend_;
  std::atomic<BusState> state_ = BusState::initialising;
  std::atomic<Departure> departure_ = Departure::none;
  bool announced_ = false;  ///< The frontend was asked to close.
  bool removed_ = false;    ///< Its nodes.
  bool gone_ = false;
  std::optional<Clock::time_point>
      leaves_at_;  ///< When the frontend's event channels are waited for no more.
  std::optional<Clock::time_point> quiet_until_;  ///< No news are told before.
};

}  // namespace pinfold::devices::xenbus
