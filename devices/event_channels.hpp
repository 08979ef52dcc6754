// Event channels of one domain, behind hypercall 32 (xen/event_channel.h): the 2-level ABI, and the FIFO ABI
// once the guest asks for it.
#pragma once

#include <array>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "devices/device.hpp"
#include "devices/event_bits.hpp"
#include "devices/event_fifo.hpp"
#include "devices/event_ports.hpp"
#include "devices/xen_abi.hpp"
#include "pvmmu/errno.hpp"
#include "vmm/for_devices/events.hpp"
#include "vmm/for_devices/hypercall.hpp"

namespace pinfold::devices {

class DeferredKick;
class EventChannels;
class WokenDomain;

/// The monitor's end of a channel that the guest opened. Destroyed, it leaves the guest's port unbound, as a
/// peer that closes its end does. It is destroyed before its EventChannels; a call of the callback that is
/// under way on a vCPU may end later.
class MonitorEnd {
 public:
  ~MonitorEnd();
  MonitorEnd(const MonitorEnd&) = delete;
  MonitorEnd& operator=(const MonitorEnd&) = delete;
  /// Raises the guest's port; dropped if the guest has closed it.
  void notify_guest();
  /// Has the guest not closed its port since it was bound?
  [[nodiscard]] bool is_connected();

 private:
  friend class EventChannels;
  MonitorEnd(EventChannels& channels, Port port, std::shared_ptr<const MonitorChannel> channel)
      : channels_(channels), port_(port), channel_(std::move(channel)) {}
  EventChannels& channels_;
  Port port_;
  std::shared_ptr<const MonitorChannel> channel_;  ///< Tells this channel from a later one on the same port.
};

/// The domains whose ports can be connected. One lock serves all their port tables, because connecting and
/// closing change two tables at once. It is held for a few loads and stores only, in a reset for those of one
/// stretch of work, and never while calling out.
class EventSwitch {
 private:
  friend class EventChannels;
  friend class MonitorEnd;
  friend class WokenDomain;
  std::mutex mutex_;
  std::unordered_map<DomId, EventChannels*> domains_;
  std::condition_variable woken_;  ///< Signalled when nobody wakes vCPUs of some domain any more.
};

/// The ports of one domain, and the hypercall that works on them.
///
/// Offers: event_channel_op with Xen's errors; virtual interrupts; channels whose other end is the monitor.
/// Needs: an EventTarget that answers from register_with on, or else from the first operation other than
/// open_monitor_channel, and that calls vcpu_info_moved when it says something new. Domains on one switch
/// come and go independently: the target is not called by neighbours after detach(). Concurrency: any thread
/// may call anything. The target and the monitor's callbacks are called without any lock of this class;
/// callbacks run in the sending vCPU's hypercall, i.e. with the domain's lock held.
class EventChannels final : public Device, public vmm::EventSource {
 public:
  /// A domain alone is a switch of its own. `max_ports` bounds the port numbers, besides what the guest's ABI
  /// has.
  EventChannels(DomId self, vmm::EventTarget& target, std::shared_ptr<EventSwitch> network = nullptr,
                std::uint32_t max_ports = EventFifo::ports);
  ~EventChannels() override;  // NOLINT(bugprone-exception-escape): see its definition

  void register_with(vmm::HypercallTable& table);
  void attach(vmm::HypercallTable& hypercalls, BootRings&) override { register_with(hypercalls); }
  /// Closes all ports. Peers that were connected find their ends unbound. What is raised later is dropped.
  /// Waits until no neighbour wakes a vCPU of this domain any more.
  void detach() override;
  /// Hypercall 32: RDI the operation (EVTCHNOP_*), RSI its structure.
  std::int64_t event_channel_op(vmm::Hypercall& call);

  /// Opens a channel from the guest to the monitor: the guest's send on it runs `on_guest_send`, notify_guest
  /// raises it. Port 0 when the table is full. The guest may close it; notify_guest is then dropped. When
  /// `on_guest_send` has served only some of what there is, the guest takes its events and then sends again.
  [[nodiscard]] Port open_monitor_channel(MonitorChannel on_guest_send);
  /// Connects a port that the guest opened for the monitor's domain (EVTCHNOP_alloc_unbound) to the monitor,
  /// as bind_interdomain by that domain would. EINVAL for any other port. The guest may have sent before, so
  /// the caller looks once at what the channel is about.
  [[nodiscard]] tl::expected<std::unique_ptr<MonitorEnd>, Errno> bind_monitor_channel(
      Port port, MonitorChannel on_guest_send);

  void raise_virq(VcpuId vcpu, std::uint32_t virq) override;
  void notify_guest(Port port) override;
  [[nodiscard]] bool is_pending(Port port) override;
  [[nodiscard]] bool is_valid(Port port) override;
  void vcpu_info_moved(VcpuId vcpu) override;

 private:
  friend class MonitorEnd;
  friend class WokenDomain;
  using Lock = std::lock_guard<std::mutex>;

  Status alloc_unbound(evtchn_alloc_unbound& args);
  Status bind_interdomain(evtchn_bind_interdomain& args);
  Status bind_virq(evtchn_bind_virq& args);
  Status bind_ipi(evtchn_bind_ipi& args);
  Status bind_vcpu(const evtchn_bind_vcpu& args);
  Status close(const evtchn_close& args);
  Status send(vmm::Hypercall& call, const evtchn_send& args);
  Status unmask(const evtchn_unmask& args);
  Status status(evtchn_status& args);
  Status reset(vmm::Hypercall& call, const evtchn_reset& args);
  Status init_control(pvmmu::Held held, evtchn_init_control& args);
  Status expand_array(pvmmu::Held held, const evtchn_expand_array& args);
  Status set_priority(const evtchn_set_priority& args);

  /// Asks the target where its pages are, once; before any lock.
  void prepare();
  [[nodiscard]] Status only_self(std::uint16_t dom) const;
  [[nodiscard]] bool vcpu_exists(std::uint64_t vcpu) const { return vcpu < vcpu_infos_.size(); }

  // These need the switch's lock.
  [[nodiscard]] EventChannels* domain(std::uint16_t dom);
  [[nodiscard]] tl::expected<Port, Errno> open_port(EventPort::State state, VcpuId vcpu);
  void raise(Port port, DeferredKick& kick);
  [[nodiscard]] bool is_connected_to(Port port, const std::shared_ptr<const MonitorChannel>& channel);
  void clear_pending(Port port);
  void switch_to_fifo();
  /// The peer of a connected port finds its end unbound.
  void unbind_peer(Port port);
  void send_to_peer(vmm::Hypercall& call, Port port, DeferredKick& kick, WokenDomain& woken);
  void close_port(Port port);
  /// From here on no neighbour finds this domain. Releases the lock now and then.
  void leave_switch(std::unique_lock<std::mutex>& lock);

  DomId self_;
  vmm::EventTarget& target_;
  std::shared_ptr<EventSwitch> network_;
  std::once_flag prepared_;
  std::uint32_t max_ports_;
  PortTable ports_;
  EventBits bits_;
  Port reset_next_{1};             ///< The port that a reset under way closes next.
  std::optional<EventFifo> fifo_;  ///< In place of bits_ from the first control block on.
  std::vector<vmm::VcpuInfoPlace> vcpu_infos_;
  /// Per vCPU, which port each VIRQ is bound to (0: none); those that are not per vCPU are vCPU 0's.
  std::vector<std::array<Port, NR_VIRQS>> virq_ports_;
  unsigned wakers_ = 0;  ///< Neighbours that are about to wake a vCPU of this domain.
};

}  // namespace pinfold::devices
