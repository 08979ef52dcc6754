// A network interface of a guest (xen/io/netif.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "devices/net/net_queue.hpp"
#include "devices/queue_thread_reserve.hpp"
#include "devices/xenbus/backend.hpp"

namespace pinfold::devices::net {

/// What the guest finds in xenstore about an interface.
struct InterfaceNodes {
  std::uint32_t number = 0;
  std::string mac;
  std::optional<std::uint32_t> mtu;
  xenbus::DeviceNodes more;  ///< Of the backend's folder: what a toolstack writes for people and scripts.
};

/// An interface's ties to its guest.
struct InterfaceLinks {
  EventChannels& events;
  GrantEntries& grants;
  /// A new one for each thread; called when the interface is made.
  std::function<std::unique_ptr<vmm::FrameHolder>()> frame_holder;
  std::function<void()> wake_bus;
  /// Where its queues' threads come from; null: each is made for it.
  std::shared_ptr<QueueThreadReserve> threads = nullptr;
  /// False: the frontend copies what it transfers. A driver domain's would else grant frames that its
  /// backends have mapped of other domains.
  bool trusted = true;
};

/// The backend of one interface. Each queue has a thread; a frontend may use as many queues as there are, or
/// fewer.
class Interface final : public xenbus::Backend {
 public:
  static constexpr std::uint32_t most_queues = 8;

  /// What `links` names outlives this. An error is one line.
  [[nodiscard]] static tl::expected<std::unique_ptr<Interface>, std::string> make(
      std::shared_ptr<Wiring> wiring, InterfaceNodes nodes, InterfaceLinks links, std::uint32_t queues);

  [[nodiscard]] xenbus::DeviceNodes backend_nodes() const override;
  [[nodiscard]] xenbus::DeviceNodes frontend_nodes() const override;
  void start() override;
  [[nodiscard]] xenbus::DeviceNodes features() const override;
  [[nodiscard]] tl::expected<xenbus::DeviceNodes, std::string> connect(
      const xenbus::FrontendNodes& frontend) override;
  [[nodiscard]] bool hush() override;
  [[nodiscard]] bool see_off() override;
  [[nodiscard]] xenbus::DeviceNodes news() override;
  void disconnect() override;
  [[nodiscard]] bool is_disconnected() override;
  [[nodiscard]] std::optional<std::string> failure() override;
  /// The sums over the queues.
  [[nodiscard]] xenbus::DeviceCounts counts() const override;

 private:
  /// A thread, and what only it uses.
  struct Queue {
    GrantAccess grants;
    std::shared_ptr<QueueCounts> counts;  ///< Also an event's, which may come when the queue is gone.
    OwnedQueueThread thread;              ///< Ends before the rest.
  };

  Interface(std::shared_ptr<Wiring> wiring, InterfaceNodes nodes, InterfaceLinks links);
  [[nodiscard]] tl::expected<RingPair, std::string> rings_of(Queue& queue,
                                                             const xenbus::FrontendNodes& nodes);
  [[nodiscard]] tl::expected<std::unique_ptr<MonitorEnd>, std::string> bind(
      Queue& queue, const xenbus::FrontendNodes& nodes, const char* name);
  [[nodiscard]] tl::expected<GrantedPage, std::string> ring_page(const xenbus::FrontendNodes& nodes,
                                                                 const char* name);

  std::shared_ptr<Wiring> wiring_;
  InterfaceNodes nodes_;
  InterfaceLinks links_;
  GrantAccess rings_;  ///< The bus's thread takes the ring pages into use.
  std::vector<std::unique_ptr<Queue>> queues_;
  PeerState told_peer_;  ///< The bus's thread's.
};

}  // namespace pinfold::devices::net
