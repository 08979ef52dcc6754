// A domain's event-channel ports: which exist, and what each is connected to.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "devices/xen_abi.hpp"
#include "pvmmu/errno.hpp"
#include "pvmmu/types.hpp"

namespace pinfold::devices {

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
  std::shared_ptr<const std::function<void()>> on_guest_send;
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
class PortTable {
 public:
  explicit PortTable(std::uint32_t limit) : limit_(limit), ports_(1) {}

  /// Opens the lowest port that is closed and not `in_use` otherwise; ENOSPC when there is none.
  [[nodiscard]] tl::expected<Port, Errno> open(EventPort::State state, VcpuId vcpu,
                                               const std::function<bool(Port)>& in_use = {});
  /// Null for a port that is closed or out of range.
  [[nodiscard]] EventPort* find(Port port);
  void close(Port port);
  /// One past the highest port that may be open.
  [[nodiscard]] Port end() const { return Port(static_cast<std::uint32_t>(ports_.size())); }
  [[nodiscard]] std::uint32_t limit() const { return limit_; }
  /// Not below a port that is open.
  void set_limit(std::uint32_t limit);

 private:
  std::uint32_t limit_;
  std::size_t all_open_below_ = 1;
  std::vector<EventPort> ports_;
};

}  // namespace pinfold::devices
