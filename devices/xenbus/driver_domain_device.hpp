// A device whose backend is another domain: the toolstack's part.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "devices/xenbus/bus_device.hpp"

namespace pinfold::devices::xenbus {

/// What a toolstack writes when it adds a device, besides what every device has.
struct DeviceFolders {
  DeviceNodes of_backend, of_frontend;
};

/// The two domains make the device out between themselves, by nodes that each of them owns and the other may
/// read, by grants and event channels. This writes what both find at the start, and removes it when the
/// device or one of the domains is gone, as libxl does. Of what the domains write, it reads the two states
/// only, and they decide nothing but when the nodes are removed: a domain that lies delays that by
/// `patience`, or has no device.
///
/// A backend whose domain has ended is Closed, whatever it wrote: the folder is there again then, domain 0's,
/// until the device goes. Linux's frontends give it up then, and further requests fail instead of
/// waiting for ever. A domain of the same name that starts later is not the device's backend.
class DriverDomainDevice final : public BusDevice {
 public:
  /// How long the backend's domain may keep a device that its frontend has let go of (libxl:
  /// LIBXL_DESTROY_TIMEOUT).
  static constexpr std::chrono::seconds patience{10};

  /// `store` outlives this. `label` is how the user knows the device: "disk xvda".
  DriverDomainDevice(xenstore::Store& store, DeviceName name, std::string label, DeviceFolders folders)
      : BusDevice(std::move(name)), store_(store), label_(std::move(label)), folders_(std::move(folders)) {}

  [[nodiscard]] Status publish() override;
  [[nodiscard]] std::vector<std::string> watched() const override;
  using BusDevice::look;
  void look(Clock::time_point now) override;
  [[nodiscard]] std::optional<Clock::time_point> next_look(Clock::time_point) const override {
    return gone_ ? std::nullopt : leaves_at_;
  }
  /// The frontend's domain has ended: the backend is asked to let go.
  void shut() override;
  [[nodiscard]] bool is_disconnected() override;
  [[nodiscard]] bool is_gone() const override { return gone_; }
  void remove_nodes() override;
  /// What the store says.
  [[nodiscard]] BusState state() const override { return state_; }
  /// Nothing is known of what passes between two domains.
  [[nodiscard]] DeviceCounts counts() const override { return {label_, {}}; }
  [[nodiscard]] tl::expected<std::uint64_t, std::string> grow(std::optional<std::uint64_t>) override {
    return tl::unexpected(std::string("the domain that serves it can make it larger"));
  }

 private:
  [[nodiscard]] BusState read_state(const xenstore::Path& folder);
  [[nodiscard]] Departure leaving() const { return shut_ ? Departure::forced : departure(); }
  [[nodiscard]] bool backend_has_ended();
  void show_closed();
  void begin_leaving();
  void leave(Clock::time_point now);
  void take_from_frontend(Clock::time_point now);
  void remove_empty_parents();

  xenstore::Store& store_;
  const std::string label_;
  const DeviceFolders folders_;
  std::atomic<BusState> state_ = BusState::initialising;
  bool ended_ = false;     ///< The backend's domain.
  bool shut_ = false;      ///< The frontend's has.
  bool was_used_ = false;  ///< Some driver has taken the backend.
  bool announced_ = false;
  bool gone_ = false;
  std::optional<Clock::time_point> leaves_at_;  ///< When the backend is waited for no more.
};

}  // namespace pinfold::devices::xenbus
