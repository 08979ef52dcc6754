// What a kind of device does when its frontend comes and goes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "devices/xenbus/nodes.hpp"

namespace pinfold::devices::xenbus {

/// What a device did so far, for statistics.
struct DeviceCounts {
  std::string device;  ///< As the user knows it: "disk xvda".
  std::vector<std::pair<std::string, std::uint64_t>> counts;
};

/// A backend of one device. BackendDevice has the states, and calls this; Bus has the thread.
///
/// A backend has threads of its own, which may change what is_disconnected() and failure() return at any
/// time; they wake the bus then.
///
/// Concurrency: start() is called before the bus's thread exists, counts() and grow() by any thread, all
/// others by the bus's.
class Backend {
 public:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  /// Waits until nothing of the guest's is in use any more.
  virtual ~Backend() = default;

  /// Nodes that a toolstack writes when it adds the device, besides those that every device has.
  [[nodiscard]] virtual DeviceNodes backend_nodes() const = 0;
  [[nodiscard]] virtual DeviceNodes frontend_nodes() const = 0;
  /// Starts its threads.
  virtual void start() = 0;

  /// Nodes that a frontend needs to choose its parameters; written before the state InitWait.
  [[nodiscard]] virtual DeviceNodes features() const = 0;
  /// The frontend has chosen: reads its nodes, connects to it, and returns the nodes that are written before
  /// the state Connected. An error is why the device closes; then disconnect() follows.
  [[nodiscard]] virtual tl::expected<DeviceNodes, std::string> connect(const FrontendNodes& frontend) = 0;
  /// By any thread: makes what is behind the device larger (block::Image::grow()), and returns its bytes. An
  /// error is one line without the device's name.
  [[nodiscard]] virtual tl::expected<std::uint64_t, std::string> grow(std::optional<std::uint64_t>) {
    return tl::unexpected(std::string("it has no size"));
  }
  /// Nodes of which connect() would say something else now. They are written while the device is connected,
  /// and then its state once more, so that the frontend looks at them.
  [[nodiscard]] virtual DeviceNodes news() { return {}; }
  /// The frontend is Closed, and its nodes are about to go. A backend whose frontends take no event while
  /// they end makes no more of them, and serves nothing more; true when that is so, false: soon. Linux'
  /// network frontend is one: an event that comes when its carrier is off stops the guest
  /// (drivers/net/xen-netfront.c: xennet_tx_buf_gc()).
  [[nodiscard]] virtual bool hush() { return true; }
  /// The frontend is Closed, and its nodes are gone: has it closed its event channels? A backend that may
  /// have requests still to come serves it until then, and raises the channels: Linux' block frontend stops
  /// its queues first, and starts them again when an event comes (drivers/block/xen-blkfront.c).
  [[nodiscard]] virtual bool see_off() { return true; }
  /// Begins to end the connection, if there is one.
  virtual void disconnect() = 0;
  /// Is there no connection, and nothing of one left? Then connect() may be called.
  [[nodiscard]] virtual bool is_disconnected() = 0;
  /// Why the connection can't go on, such as a frontend that broke its ring.
  [[nodiscard]] virtual std::optional<std::string> failure() = 0;
  [[nodiscard]] virtual DeviceCounts counts() const = 0;
};

}  // namespace pinfold::devices::xenbus
