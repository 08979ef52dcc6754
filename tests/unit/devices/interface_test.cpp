// A network interface behind the bus, with its threads: frontends that connect, break the rules, and come
// again.
#include "devices/net/interface.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <map>
#include <thread>

#include "devices/net/stream_lane.hpp"
#include "devices/xenbus/bus.hpp"
#include "event_guest.hpp"
#include "net_fakes.hpp"

namespace pinfold::devices::net {
namespace {

using namespace std::chrono_literals;
using xenbus::Bus;
using xenstore::Path;
using xenstore::Store;

constexpr std::uint32_t queues = 2, first_ref = 8, first_frame = 1, page_ref = 100, page_frame = 10;

/// Waits for threads of the interface's: true as soon as the condition holds.
template <class Condition>
bool soon(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + 10s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(100us);
  }
  return true;
}

/// A lane that is full until somebody else makes room, of which its descriptor says nothing.
class FullLane final : public Lane {
 public:
  [[nodiscard]] bool can_send() override { return has_room; }
  void send(const Frame&) override { ++sent; }
  void flush() override {}
  [[nodiscard]] bool waits_to_send() override { return false; }
  [[nodiscard]] std::optional<Frame> receive() override { return std::nullopt; }
  [[nodiscard]] int descriptor() override { return -1; }
  [[nodiscard]] PeerState peer() override { return {}; }

  std::atomic<bool> has_room = false;
  std::atomic<int> sent = 0;
};

/// One queue of the frontend's.
struct FrontQueue {
  FakeTx tx;
  FakeRx rx;
  std::uint32_t port = 0;
};

struct InterfaceOnBus : testing::Test {
  InterfaceOnBus() {
    for (std::uint32_t n = 0; n < 64; ++n) guest.grant(page_ref + n, page_frame + n);
  }
  ~InterfaceOnBus() override {
    bus.detach();
    for (std::uint32_t n = 0; n < 64; ++n) {
      EXPECT_EQ(guest.users_of(page_frame + n), 0u);
      EXPECT_TRUE(guest.revoke(page_ref + n));
    }
  }
  void start(std::unique_ptr<Lane> lane) {
    Wiring wiring;
    wiring.wire.lanes.push_back(std::move(lane));
    const InterfaceLinks links{domain.channels, guest.entries,
                               [this] { return std::make_unique<FakeHolder>(guest.target); },
                               [waker = bus.waker()] { waker->wake(); }};
    bus.add({"vif", DomId(1), 0}, *Interface::make(std::make_shared<Wiring>(std::move(wiring)),
                                                   {0, "00:16:3e:01:02:03", 9000, {}}, links, queues));
    EXPECT_TRUE(bus.start(domain.lock.held, {}));
  }

  static Path front(const std::string& name) {
    return *Path::parse("/local/domain/1/device/vif/0/" + name, DomId(0));
  }
  [[nodiscard]] std::string read(const std::string& path) {
    return store->read(*Path::parse(path, DomId(0))).value_or("");
  }
  [[nodiscard]] std::string back(const std::string& name) {
    return read("/local/domain/0/backend/vif/1/0/" + name);
  }
  [[nodiscard]] std::string error() { return read("/local/domain/0/error/backend/vif/1/0/error"); }
  void set(const std::string& name, const std::string& value) {
    ASSERT_TRUE(store->write(front(name), value));
  }
  bool reaches(const std::string& state) {
    return soon([&] { return back("state") == state; });
  }

  /// Makes rings and a port, as a frontend does for a queue.
  FrontQueue& make_rings(const std::string& where = "", std::uint32_t queue = 0) {
    for (const std::uint32_t ring : {2 * queue, 2 * queue + 1}) {
      guest.grant(first_ref + ring, first_frame + ring);
      auto page = guest.frame(first_frame + ring);
      for (std::size_t offset = 0; offset < 64; offset += 8) page.store(offset, std::uint64_t{0});
    }
    const std::uint32_t port = domain.listen(0);
    set(where + "tx-ring-ref", std::to_string(first_ref + 2 * queue));
    set(where + "rx-ring-ref", std::to_string(first_ref + 2 * queue + 1));
    set(where + "event-channel", std::to_string(port));
    set("request-rx-copy", "1");
    set("feature-rx-notify", "1");
    return fronts.emplace_back(
        FrontQueue{FakeTx(guest.frame(first_frame + 2 * queue), sizeof(netif_tx_request)),
                   FakeRx(guest.frame(first_frame + 2 * queue + 1), sizeof(netif_rx_request)), port});
  }
  FrontQueue& connect() {
    auto& queue = make_rings();
    set("state", "4");
    EXPECT_TRUE(reaches("4"));
    return queue;
  }
  void close_and_reopen() {
    set("state", "5");
    EXPECT_TRUE(reaches("5"));
    set("state", "6");
    EXPECT_TRUE(reaches("6"));
    set("state", "1");
    EXPECT_TRUE(reaches("2"));
  }

  void transmit(FrontQueue& queue, std::size_t bytes) {
    queue.tx.put(netif_tx_request{page_ref, 0, 0, 7, static_cast<std::uint16_t>(bytes)});
    queue.tx.push();
    EXPECT_EQ(domain.port_op(EVTCHNOP_send, queue.port), 0);
  }
  std::optional<int> tx_status(FrontQueue& queue) {
    std::optional<netif_tx_response> response;
    if (!soon([&] { return (response = queue.tx.take()).has_value(); })) return std::nullopt;
    return response->status;
  }

  std::shared_ptr<Store> store = std::make_shared<Store>();
  Guest domain{1};
  GrantingGuest guest;
  Bus bus{store};
  std::deque<FrontQueue> fronts;
};

struct InterfaceWithPeer : InterfaceOnBus {
  InterfaceWithPeer() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    peer = vmm::Fd(ends[1]);
    start(StreamLane::connected(vmm::Fd(ends[0])));
  }
  /// The length of the next frame that the peer gets.
  std::size_t got() {
    Bytes length(4);
    if (::recv(peer.get(), length.data(), 4, MSG_WAITALL) != 4) return 0;
    Bytes frame(get32(length, 0));
    const ssize_t n = ::recv(peer.get(), frame.data(), frame.size(), MSG_WAITALL);
    return n == static_cast<ssize_t>(frame.size()) ? frame.size() : 0;
  }
  void send(std::size_t bytes) {
    const auto length = frame_length(bytes);
    Bytes all(length.begin(), length.end());
    all.resize(4 + bytes);
    ASSERT_EQ(::send(peer.get(), all.data(), all.size(), 0), static_cast<ssize_t>(all.size()));
  }
  bool works(FrontQueue& queue) {
    transmit(queue, 60);
    return tx_status(queue) == NETIF_RSP_OKAY && got() == 60;
  }
  vmm::Fd peer;
};

TEST_F(InterfaceWithPeer, a_frontend_learns_what_the_interface_can_do) {
  EXPECT_EQ(back("multi-queue-max-queues"), "2");
  EXPECT_EQ(back("mac") + " " + back("mtu"), "00:16:3e:01:02:03 9000");
  EXPECT_EQ(read("/local/domain/1/device/vif/0/mac"), "00:16:3e:01:02:03");
  EXPECT_EQ(read("/local/domain/1/device/vif/0/mtu"), "9000");
  for (const char* feature : {"feature-rx-copy", "feature-sg", "feature-gso-tcpv4", "feature-gso-tcpv6",
                              "feature-ipv6-csum-offload", "feature-split-event-channels"})
    EXPECT_EQ(back(feature), "1") << feature;
  for (const char* feature : {"feature-rx-flip", "feature-multicast-control", "feature-ctrl-ring"})
    EXPECT_EQ(back(feature), "0") << feature;
}

TEST_F(InterfaceWithPeer, frames_go_both_ways) {
  auto& queue = connect();
  EXPECT_TRUE(works(queue));
  queue.rx.put(netif_rx_request{5, 0, page_ref + 1});
  queue.rx.push();
  send(100);
  std::optional<netif_rx_response> response;
  ASSERT_TRUE(soon([&] { return (response = queue.rx.take()).has_value(); }));
  EXPECT_EQ(response->status, 100);
  EXPECT_EQ(response->id, 5);
}

TEST_F(InterfaceWithPeer, a_frame_waits_until_the_guest_has_room_for_it) {
  auto& queue = connect();
  send(100);
  std::this_thread::sleep_for(5ms);
  queue.rx.put(netif_rx_request{5, 0, page_ref + 1});
  queue.rx.push();
  EXPECT_EQ(domain.port_op(EVTCHNOP_send, queue.port), 0);
  EXPECT_TRUE(soon([&] { return queue.rx.take().has_value(); }));
}

TEST_F(InterfaceWithPeer, each_direction_has_its_port_if_the_frontend_wants_that) {
  make_rings();
  const std::uint32_t tx_port = domain.listen(0), rx_port = domain.listen(0);
  set("event-channel-tx", std::to_string(tx_port));
  set("event-channel-rx", std::to_string(rx_port));
  set("state", "4");
  ASSERT_TRUE(reaches("4"));
  fronts.back().port = tx_port;
  EXPECT_TRUE(works(fronts.back()));
  send(60);
  std::this_thread::sleep_for(5ms);
  fronts.back().rx.put(netif_rx_request{5, 0, page_ref + 1});
  fronts.back().rx.push();
  EXPECT_EQ(domain.port_op(EVTCHNOP_send, rx_port), 0);
  EXPECT_TRUE(soon([&] { return fronts.back().rx.take().has_value(); }));
}

TEST_F(InterfaceWithPeer, both_ports_are_closed_before_an_interface_is_gone) {
  make_rings();
  const std::uint32_t tx_port = domain.listen(0), rx_port = domain.listen(0);
  set("event-channel-tx", std::to_string(tx_port));
  set("event-channel-rx", std::to_string(rx_port));
  set("state", "4");
  ASSERT_TRUE(reaches("4"));
  ASSERT_TRUE(bus.unplug("vif", 0, xenbus::Departure::asked));
  set("state", "6");
  ASSERT_TRUE(reaches(""));
  EXPECT_EQ(domain.port_op(EVTCHNOP_close, rx_port), 0);
  std::this_thread::sleep_for(20ms);
  EXPECT_TRUE(bus.has("vif", 0));
  EXPECT_EQ(domain.port_op(EVTCHNOP_close, tx_port), 0);
  EXPECT_TRUE(soon([&] { return !bus.has("vif", 0); }));
}

TEST_F(InterfaceWithPeer, several_queues_are_served) {
  set("multi-queue-num-queues", "2");
  make_rings("queue-0/", 0);
  make_rings("queue-1/", 1);
  set("state", "4");
  ASSERT_TRUE(reaches("4"));
  EXPECT_TRUE(works(fronts[0]));
  EXPECT_TRUE(works(fronts[1]));
  const auto all = bus.counts();
  const std::map<std::string, std::uint64_t> counts(all[0].counts.begin(), all[0].counts.end());
  EXPECT_EQ(all[0].device, "vif 0");
  EXPECT_EQ(counts.at("tx_frames"), 2u);
  EXPECT_EQ(counts.at("tx_bytes"), 120u);
  EXPECT_GE(counts.at("events_received"), 2u);
}

TEST_F(InterfaceWithPeer, frontends_come_one_after_the_other) {
  for (int life = 0; life < 5; ++life) {
    auto& queue = connect();
    EXPECT_TRUE(works(queue));
    close_and_reopen();
    EXPECT_EQ(domain.status(queue.port).status, std::uint32_t{EVTCHNSTAT_unbound});
    EXPECT_TRUE(guest.revoke(first_ref) && guest.revoke(first_ref + 1))
        << "the rings are the frontend's again";
  }
}

TEST_F(InterfaceWithPeer, a_broken_ring_closes_the_interface_with_a_reason) {
  auto& queue = connect();
  queue.tx.set_producer(1000);
  EXPECT_EQ(domain.port_op(EVTCHNOP_send, queue.port), 0);
  EXPECT_TRUE(reaches("5"));
  EXPECT_NE(error().find("transmit ring"), std::string::npos);
  close_and_reopen();
  EXPECT_EQ(error(), "");
  EXPECT_TRUE(works(connect()));
}

TEST_F(InterfaceWithPeer, nodes_that_make_no_connection_are_refused_with_a_reason) {
  const struct {
    const char* name;
    const char* value;
    const char* reason;
  } bad[] = {{"request-rx-copy", "0", "request-rx-copy"},
             {"request-rx-copy", "yes", "no number"},
             {"feature-rx-notify", "0", "feature-rx-notify"},
             {"feature-sg", "-1", "feature-sg"},
             {"feature-gso-tcpv4", "x", "feature-gso-tcpv4"},
             {"multi-queue-num-queues", "0", "multi-queue-num-queues"},
             {"multi-queue-num-queues", "3", "multi-queue-num-queues"},
             {"multi-queue-num-queues", "4294967296", "multi-queue-num-queues"},
             {"multi-queue-num-queues", "2", "queue 0: the frontend has no tx-ring-ref"},
             {"tx-ring-ref", "99999", "tx-ring-ref"},
             {"tx-ring-ref", "nonsense", "tx-ring-ref"},
             {"rx-ring-ref", "50", "rx-ring-ref"},
             {"rx-ring-ref", "", "rx-ring-ref"},
             {"event-channel", "0", "event-channel"},
             {"event-channel", "4000000000", "event-channel"},
             {"event-channel-tx", "0", "event-channel-tx"}};
  for (const auto& [name, value, reason] : bad) {
    make_rings();
    set(name, value);
    set("state", "4");
    EXPECT_TRUE(reaches("5")) << name << "=" << value;
    EXPECT_NE(error().find(reason), std::string::npos) << name << "=" << value << ": " << error();
    EXPECT_TRUE(guest.revoke(first_ref) && guest.revoke(first_ref + 1)) << "nothing is left of the attempt";
    close_and_reopen();
    for (const char* node : {"feature-sg", "feature-gso-tcpv4", "multi-queue-num-queues", "event-channel-tx"})
      (void)store->remove(front(node));
  }
  EXPECT_TRUE(works(connect()));
}

TEST_F(InterfaceWithPeer, a_second_queue_that_is_none_takes_the_first_one_with_it) {
  set("multi-queue-num-queues", "2");
  make_rings("queue-0/", 0);
  set("state", "4");
  EXPECT_TRUE(reaches("5"));
  EXPECT_NE(error().find("queue 1"), std::string::npos);
  set("state", "6");
  EXPECT_TRUE(reaches("6"));
  EXPECT_TRUE(guest.revoke(first_ref) && guest.revoke(first_ref + 1));
  EXPECT_EQ(domain.status(fronts[0].port).status, std::uint32_t{EVTCHNSTAT_unbound});
}

TEST_F(InterfaceWithPeer, one_port_is_not_for_both_directions_if_they_want_one_each) {
  const auto& queue = make_rings();
  set("event-channel-tx", std::to_string(queue.port));
  set("event-channel-rx", std::to_string(queue.port));
  set("state", "4");
  EXPECT_TRUE(reaches("5"));
  EXPECT_NE(error().find("event-channel-rx"), std::string::npos);
}

TEST_F(InterfaceWithPeer, states_in_any_order_leave_an_interface_that_works) {
  std::uint32_t random = 1;
  for (int round = 0; round < 300; ++round) {
    if (round % 50 == 0) make_rings();
    random = random * 1664525 + 1013904223;
    set("state", std::to_string(random / 65536 % 11));
    if (round % 7 == 0) std::this_thread::sleep_for(200us);
  }
  set("state", "6");
  EXPECT_TRUE(reaches("6"));
  set("state", "1");
  EXPECT_TRUE(reaches("2"));
  EXPECT_TRUE(works(connect()));
}

TEST_F(InterfaceWithPeer, a_peer_that_goes_leaves_an_interface_that_transmits_to_nobody) {
  auto& queue = connect();
  EXPECT_TRUE(works(queue));
  peer = vmm::Fd();
  for (int n = 0; n < 100; ++n) {
    transmit(queue, 60);
    EXPECT_EQ(tx_status(queue), NETIF_RSP_OKAY);
  }
  EXPECT_TRUE(soon([&] { return back("link") == "cut off"; }));
  EXPECT_EQ(back("state"), "4");
}

TEST_F(InterfaceWithPeer, a_frontend_that_does_nothing_loses_its_peer_too) {
  connect();
  EXPECT_EQ(back("link"), "up");
  peer = vmm::Fd();
  EXPECT_TRUE(soon([&] { return back("link") == "cut off"; }));
  close_and_reopen();
  connect();
  EXPECT_EQ(back("link"), "cut off") << "nobody comes again";
}

/// A host's socket for peers that come and go.
struct InterfaceWithListener : InterfaceOnBus {
  InterfaceWithListener() : listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    const sockaddr_un any{AF_UNIX, {}};  // the kernel chooses an address without a file
    EXPECT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&any), sizeof(sa_family_t)), 0);
    EXPECT_EQ(::listen(listener.get(), 1), 0);
    EXPECT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    start(StreamLane::listening(vmm::Fd(::dup(listener.get()))));
    InterfaceOnBus::connect();
  }
  /// Waits while others wait to be accepted.
  [[nodiscard]] vmm::Fd arrive() {
    vmm::Fd peer(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(peer.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
    return peer;
  }
  vmm::Fd listener;
  sockaddr_un address{};
  socklen_t size = sizeof address;
};

TEST_F(InterfaceWithListener, peers_that_come_and_go_are_told) {
  EXPECT_EQ(back("link"), "no peer");
  for (int n = 0; n < 3; ++n) {
    vmm::Fd peer = arrive();
    EXPECT_TRUE(soon([&] { return back("link") == "up"; }));
    peer = vmm::Fd();
    EXPECT_TRUE(soon([&] { return back("link") == "no peer"; }));
  }
}

TEST_F(InterfaceWithListener, peers_that_come_and_go_in_a_loop_make_few_events) {
  using Clock = std::chrono::steady_clock;
  const auto watcher = store->add_client(DomId(1), {});
  ASSERT_TRUE(store->watch(watcher, "/local/domain/0/backend/vif/1/0", "t"));
  while (store->next_event(watcher)) {
  }
  const auto begin = Clock::now();
  for (int n = 0; n < 2000; ++n) (void)arrive();
  const vmm::Fd last = arrive();
  EXPECT_TRUE(soon([&] { return back("link") == "up"; }));
  int events = 0;
  while (store->next_event(watcher)) ++events;
  const auto times = (Clock::now() - begin) / xenbus::BackendDevice::between_news + 1;
  EXPECT_LE(events, 2 * times) << "of the link's node and of the state, each time";
}

TEST_F(InterfaceWithListener, a_peer_in_the_place_of_another_is_told_although_the_link_is_up_all_the_time) {
  // So that the frontend announces its address to it.
  vmm::Fd peer = arrive();
  EXPECT_TRUE(soon([&] { return back("link") == "up"; }));
  const auto watcher = store->add_client(DomId(1), {});
  for (int n = 0; n < 20; ++n) {
    ASSERT_TRUE(store->watch(watcher, "/local/domain/0/backend/vif/1/0/state", "t"));
    while (store->next_event(watcher)) {
    }
    peer = vmm::Fd();
    peer = arrive();
    EXPECT_TRUE(soon([&] { return store->next_event(watcher).has_value(); }));
    ASSERT_TRUE(store->unwatch(watcher, "/local/domain/0/backend/vif/1/0/state", "t"));
  }
}

TEST_F(InterfaceOnBus, room_that_another_queue_made_is_found) {
  auto owned = std::make_unique<FullLane>();
  FullLane* const lane = owned.get();
  start(std::move(owned));
  auto& queue = connect();
  transmit(queue, 60);
  std::this_thread::sleep_for(5ms);
  EXPECT_EQ(lane->sent, 0);
  lane->has_room = true;
  EXPECT_EQ(tx_status(queue), NETIF_RSP_OKAY);
  EXPECT_EQ(lane->sent, 1);
}

}  // namespace
}  // namespace pinfold::devices::net
