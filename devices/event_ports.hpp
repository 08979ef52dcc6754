// A domain's event-channel ports: which exist, and what each is connected to.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <variant>
#include <vector>

#include "devices/served.hpp"
#include "devices/xen_abi.hpp"
#include "pvmmu/errno.hpp"
#include "pvmmu/types.hpp"
#include "vmm/for_devices/hypercall.hpp"

namespace pinfold::devices {

/// What the guest's send to the monitor runs. The call is there to spend from.
using MonitorChannel = std::function<Served(vmm::Hypercall&)>;

namespace port_state {
struct Closed {};
/// Waits for `remote` to bind to it.
struct Unbound {
  DomId remote;
};
struct Interdomain {
  DomId remote;
  Port remote_port;
};
/// The other end is this monitor. The guest sees an interdomain channel to domain 0.
struct Monitor {
  std::shared_ptr<const MonitorChannel> on_guest_send;
};
struct Virq {
  std::uint32_t virq;
};
struct Ipi {};
}  // namespace port_state

struct EventPort {
  using State = std::variant<port_state::Closed, port_state::Unbound, port_state::Interdomain,
                             port_state::Monitor, port_state::Virq, port_state::Ipi>;
  State state;
  VcpuId vcpu{0};  ///< whom it notifies
  // Of the FIFO ABI alone:
  std::uint8_t priority = EVTCHN_FIFO_PRIORITY_DEFAULT;
  bool pending_without_word = false;  ///< raised before the guest gave the page that holds its event word

  template <class S>
  [[nodiscard]] bool is() const {
    return std::holds_alternative<S>(state);
  }
  template <class S>
  [[nodiscard]] const S* as() const {
    return std::get_if<S>(&state);
  }
};

/// Grows as ports are opened, never past its limit. Port 0 is reserved: it never opens. Not thread-safe.
///
/// A closed port's number can be in use still: it lingers. Each open() looks at a few of those, in turn, so
/// that a guest which never lets go of them makes no call longer.
class PortTable {
 public:
  explicit PortTable(std::uint32_t limit) : limit_(limit), ports_(1) {}

  /// Opens the lowest port that is closed and does not linger; ENOSPC when there is none. `still_in_use` is
  /// asked of ports that linger, `looks` times at most, or `last_looks` times before ENOSPC.
  [[nodiscard]] tl::expected<Port, Errno> open(EventPort::State state, VcpuId vcpu,
                                               const std::function<bool(Port)>& still_in_use = {});
  static constexpr std::size_t looks = 16, last_looks = 1024;
  /// Null for a port that is closed or out of range.
  [[nodiscard]] EventPort* find(Port port);
  /// `lingers`: its number is in use until open() finds out that it is not.
  void close(Port port, bool lingers = false);
  /// No number is in use any more, but for those of open ports.
  void none_lingers();
  [[nodiscard]] std::uint32_t open_ports() const { return open_ports_; }
  /// One past the highest port that may be open.
  [[nodiscard]] Port end() const { return Port(static_cast<std::uint32_t>(ports_.size())); }
  [[nodiscard]] std::uint32_t limit() const { return limit_; }
  /// Not below a port that is open.
  void set_limit(std::uint32_t limit);

 private:
  std::uint32_t limit_;
  void look_at_lingering(const std::function<bool(Port)>& still_in_use, std::size_t count);

  std::uint32_t open_ports_ = 0;
  std::vector<EventPort> ports_;
  // Of those, the closed ones:
  std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, std::greater<>> free_;
  std::deque<std::uint32_t> lingering_;
};

}  // namespace pinfold::devices
