// A domain's event-channel ports: which exist, and what each is connected to.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

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

  /// Opens the lowest free port; ENOSPC when all are in use.
  [[nodiscard]] tl::expected<Port, Errno> open(EventPort::State state, VcpuId vcpu);
  /// Null for a port that is closed or out of range.
  [[nodiscard]] EventPort* find(Port port);
  void close(Port port);
  /// One past the highest port that may be open.
  [[nodiscard]] Port end() const { return Port(static_cast<std::uint32_t>(ports_.size())); }
  [[nodiscard]] std::uint32_t limit() const { return limit_; }

 private:
  std::uint32_t limit_;
  std::vector<EventPort> ports_;
};

}  // namespace pinfold::devices
