// One queue of a network interface, as its thread serves it: when it raises events, and when no more.
#include "devices/net/net_queue.hpp"

#include <gtest/gtest.h>

#include <utility>

#include "event_guest.hpp"
#include "net_fakes.hpp"

namespace pinfold::devices::net {
namespace {

constexpr std::uint32_t tx_ref = 8, tx_frame = 1, rx_ref = 9, rx_frame = 2, data_ref = 10, data_frame = 3;

struct QueueOfGuest : testing::Test {
  QueueOfGuest() {
    guest.grant(tx_ref, tx_frame);
    guest.grant(rx_ref, rx_frame);
    guest.grant(data_ref, data_frame);
    auto owned = std::make_unique<FakeLane>();
    lane = owned.get();
    wiring.wire.lanes.push_back(std::move(owned));
    queue.emplace(wiring, access, counts,
                  RingPair{ring(tx_ref), ring(rx_ref), end_of(tx_port), end_of(rx_port), {}}, 0, 1);
  }
  GrantedPage ring(std::uint32_t ref) { return std::move(*access.use(GrantRef(ref), GrantUse::write)); }
  std::unique_ptr<MonitorEnd> end_of(std::uint32_t port) {
    return std::move(*domain.channels.bind_monitor_channel(Port(port), [](auto&) { return Served::all; }));
  }
  /// A frame of the guest's for the host.
  void transmit() {
    front.put(netif_tx_request{data_ref, 0, 0, 1, 60});
    front.push();
  }

  GrantingGuest guest;
  GrantAccess access = guest.access();
  Guest domain{1};
  std::uint32_t tx_port = domain.listen(0), rx_port = domain.listen(0);
  FakeTx front{guest.frame(tx_frame), sizeof(netif_tx_request)};
  FakeLane* lane = nullptr;
  Wiring wiring;
  QueueCounts counts;
  std::optional<NetQueue> queue;
};

TEST_F(QueueOfGuest, serves_nothing_and_raises_nothing_once_it_is_hushed) {
  transmit();
  (void)queue->serve(false);
  EXPECT_EQ(lane->sent.size(), 1u);
  EXPECT_FALSE(queue->hush()) << "its thread may be about to raise an event";
  lane->to_receive.push_back({make_packet({}), {}});
  transmit();
  EXPECT_EQ(queue->serve(false), std::nullopt) << "nothing is left to do";
  EXPECT_TRUE(queue->hush());
  EXPECT_EQ(lane->sent.size(), 1u);
  std::vector<pollfd> waits;
  queue->add_descriptors(waits);
  EXPECT_TRUE(waits.empty()) << "a frame from the host must not wake it again and again";
}

TEST_F(QueueOfGuest, asks_whether_the_ports_are_closed_without_raising_them) {
  EXPECT_FALSE(queue->see_off());
  EXPECT_FALSE(domain.target.pending(tx_port) || domain.target.pending(rx_port));
  EXPECT_EQ(domain.port_op(EVTCHNOP_close, tx_port), 0);
  EXPECT_FALSE(queue->see_off()) << "one of two";
  EXPECT_EQ(domain.port_op(EVTCHNOP_close, rx_port), 0);
  EXPECT_TRUE(queue->see_off());
}

}  // namespace
}  // namespace pinfold::devices::net
