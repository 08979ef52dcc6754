#include "devices/net/interface.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace pinfold::devices::net {
namespace {

using xenbus::DeviceNodes;
using xenbus::FrontendNodes;

/// A feature's node is a number; any but 0 says that the frontend has the feature.
tl::expected<bool, std::string> has(const FrontendNodes& nodes, const char* feature) {
  const auto value = nodes.number(feature);
  if (!value) return tl::unexpected(value.error());
  return value->value_or(0) != 0;
}

tl::expected<RxFeatures, std::string> features_of(const FrontendNodes& nodes) {
  RxFeatures features;
  bool copies = false, notifies = false, no_ipv4 = false;
  const std::pair<const char*, bool*> all[] = {{"request-rx-copy", &copies},
                                               {"feature-rx-notify", &notifies},
                                               {"feature-no-csum-offload", &no_ipv4},
                                               {"feature-sg", &features.scatter_gather},
                                               {"feature-ipv6-csum-offload", &features.blank_checksum_ipv6},
                                               {"feature-gso-tcpv4", &features.segments_tcpv4},
                                               {"feature-gso-tcpv6", &features.segments_tcpv6}};
  for (const auto& [name, to] : all) {
    const auto value = has(nodes, name);
    if (!value) return tl::unexpected(value.error());
    *to = *value;
  }
  features.blank_checksum_ipv4 = !no_ipv4;
  if (!copies) return tl::unexpected(std::string("the frontend has no request-rx-copy"));
  if (!notifies) return tl::unexpected(std::string("the frontend has no feature-rx-notify"));
  return features;
}

/// For people, and for programs that read the store. No frontend reads it: netif knows no carrier.
DeviceNodes link_nodes(Peer peer) {
  constexpr const char* texts[] = {"up", "no peer", "cut off"};
  return {{"link", texts[static_cast<std::size_t>(peer)]}};
}

}  // namespace

Interface::Interface(std::shared_ptr<Wiring> wiring, InterfaceNodes nodes, InterfaceLinks links)
    : wiring_(std::move(wiring)),
      nodes_(std::move(nodes)),
      links_(std::move(links)),
      rings_(links_.grants, links_.frame_holder()) {}

tl::expected<std::unique_ptr<Interface>, std::string> Interface::make(std::shared_ptr<Wiring> wiring,
                                                                      InterfaceNodes nodes,
                                                                      InterfaceLinks links,
                                                                      std::uint32_t queues) {
  std::unique_ptr<Interface> made(new Interface(std::move(wiring), std::move(nodes), std::move(links)));
  for (std::uint32_t n = 0; n < std::clamp(queues, 1U, most_queues); ++n) {
    auto thread = queue_thread(made->links_.threads.get(), made->links_.wake_bus);
    if (!thread) return tl::unexpected(thread.error());
    made->queues_.push_back(
        std::make_unique<Queue>(Queue{GrantAccess(made->links_.grants, made->links_.frame_holder()),
                                      std::make_shared<QueueCounts>(), std::move(*thread)}));
  }
  return made;
}

DeviceNodes Interface::backend_nodes() const {
  DeviceNodes nodes = nodes_.more;
  nodes.push_back({"handle", std::to_string(nodes_.number)});
  nodes.push_back({"mac", nodes_.mac});
  if (nodes_.mtu) nodes.push_back({"mtu", std::to_string(*nodes_.mtu)});
  nodes.push_back({"hotplug-status", "connected"});
  return nodes;
}

DeviceNodes Interface::frontend_nodes() const {
  DeviceNodes nodes = {{"handle", std::to_string(nodes_.number)}, {"mac", nodes_.mac}};
  if (nodes_.mtu) nodes.push_back({"mtu", std::to_string(*nodes_.mtu)});
  if (!links_.trusted) nodes.push_back({"trusted", "0"});
  return nodes;
}

void Interface::start() {
  for (const auto& queue : queues_) queue->thread->start();
}

/// What the host's side does not take, the queues do themselves; so a guest always gets all of it.
DeviceNodes Interface::features() const {
  return {{"feature-sg", "1"},
          {"feature-gso-tcpv4", "1"},
          {"feature-gso-tcpv6", "1"},
          {"feature-ipv6-csum-offload", "1"},
          {"feature-rx-copy", "1"},
          {"feature-rx-flip", "0"},
          {"feature-multicast-control", "0"},
          {"feature-ctrl-ring", "0"},
          {"feature-split-event-channels", "1"},
          {"multi-queue-max-queues", std::to_string(queues_.size())}};
}

tl::expected<DeviceNodes, std::string> Interface::connect(const FrontendNodes& frontend) {
  const auto features = features_of(frontend);
  if (!features) return tl::unexpected(features.error());
  const auto count = frontend.number("multi-queue-num-queues");
  if (!count) return tl::unexpected(count.error());
  const std::uint32_t queues = count->value_or(1);
  if (queues == 0 || queues > queues_.size())
    return tl::unexpected(std::string("the frontend's multi-queue-num-queues is not what was offered"));
  told_peer_ = wiring_->wire.peer();  // Only a queue that is connected changes it.
  for (std::uint32_t n = 0; n < queues; ++n) {
    // A frontend with one queue writes its nodes as one that knows only one queue.
    auto rings = rings_of(*queues_[n], queues == 1 ? frontend : frontend.below("queue-" + std::to_string(n)));
    if (!rings) return tl::unexpected("queue " + std::to_string(n) + ": " + rings.error());
    rings->features = *features;
    Queue& queue = *queues_[n];
    queue.thread->connect(
        std::make_unique<NetQueue>(*wiring_, queue.grants, *queue.counts, std::move(*rings), n, queues));
  }
  return link_nodes(told_peer_.peer);
}

/// Linux's frontend announces its address when the state is written once more; so a new peer learns it.
DeviceNodes Interface::news() {
  const PeerState now = wiring_->wire.peer();
  if (std::exchange(told_peer_, now) == now) return {};
  if (now.peer == Peer::gone)
    spdlog::warn(
        "vif {}: nobody is at the other end any more; the interface is cut off. `pinfold network-detach` and "
        "`network-attach` give the guest another one",
        nodes_.number);
  return link_nodes(now.peer);
}

tl::expected<RingPair, std::string> Interface::rings_of(Queue& queue, const FrontendNodes& nodes) {
  RingPair rings;
  auto tx = ring_page(nodes, "tx-ring-ref");
  if (!tx) return tl::unexpected(tx.error());
  auto rx = ring_page(nodes, "rx-ring-ref");
  if (!rx) return tl::unexpected(rx.error());
  rings.tx = std::move(*tx);
  rings.rx = std::move(*rx);
  const bool split = nodes.text("event-channel-tx").has_value();
  auto tx_end = bind(queue, nodes, split ? "event-channel-tx" : "event-channel");
  if (!tx_end) return tl::unexpected(tx_end.error());
  rings.tx_end = std::move(*tx_end);
  if (!split) return rings;
  auto rx_end = bind(queue, nodes, "event-channel-rx");
  if (!rx_end) return tl::unexpected(rx_end.error());
  rings.rx_end = std::move(*rx_end);
  return rings;
}

tl::expected<GrantedPage, std::string> Interface::ring_page(const FrontendNodes& nodes, const char* name) {
  const auto ref = nodes.required_number(name);
  if (!ref) return tl::unexpected(ref.error());
  auto page = rings_.use(GrantRef(*ref), GrantUse::write);
  if (!page) return tl::unexpected(std::string(name) + " names no grant of a page that may be written");
  return std::move(*page);
}

tl::expected<std::unique_ptr<MonitorEnd>, std::string> Interface::bind(Queue& queue,
                                                                       const FrontendNodes& nodes,
                                                                       const char* name) {
  const auto port = nodes.required_number(name);
  if (!port) return tl::unexpected(port.error());
  auto end = links_.events.bind_monitor_channel(
      Port(*port), [bell = queue.thread->bell(), counts = queue.counts](vmm::Hypercall&) {
        QueueCounts::add(counts->events_received);
        bell->ring();
        return Served::all;
      });
  if (!end) return tl::unexpected(std::string(name) + " is no port that waits for this domain");
  return std::move(*end);
}

bool Interface::hush() {
  bool all = true;
  for (const auto& queue : queues_) all = queue->thread->hush() && all;
  return all;
}

bool Interface::see_off() {
  bool all = true;
  for (const auto& queue : queues_) all = queue->thread->see_off() && all;
  return all;
}

void Interface::disconnect() {
  for (const auto& queue : queues_) queue->thread->disconnect();
}

bool Interface::is_disconnected() {
  return std::all_of(queues_.begin(), queues_.end(),
                     [](const auto& queue) { return queue->thread->is_idle(); });
}

std::optional<std::string> Interface::failure() {
  for (const auto& queue : queues_)
    if (const char* const fault = queue->thread->fault()) return fault;
  return std::nullopt;
}

xenbus::DeviceCounts Interface::counts() const {
  constexpr std::pair<const char*, QueueCounts::Count QueueCounts::*> named[] = {
      {"tx_frames", &QueueCounts::tx_frames},     {"tx_bytes", &QueueCounts::tx_bytes},
      {"tx_refused", &QueueCounts::tx_refused},   {"rx_frames", &QueueCounts::rx_frames},
      {"rx_bytes", &QueueCounts::rx_bytes},       {"rx_dropped", &QueueCounts::rx_dropped},
      {"events_sent", &QueueCounts::events_sent}, {"events_received", &QueueCounts::events_received}};
  xenbus::DeviceCounts all{"vif " + std::to_string(nodes_.number), {}};
  for (const auto& [name, count] : named) {
    std::uint64_t sum = 0;
    for (const auto& queue : queues_) sum += (*queue->counts).*count;
    all.counts.emplace_back(name, sum);
  }
  return all;
}

}  // namespace pinfold::devices::net
