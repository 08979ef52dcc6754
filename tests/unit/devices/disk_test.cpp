// A disk behind the bus, with its threads: frontends that connect, break the rules, and come again.
#include "devices/block/disk.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <thread>

#include "block_fakes.hpp"
#include "devices/xenbus/bus.hpp"
#include "event_guest.hpp"
#include "granting_guest.hpp"

namespace pinfold::devices::block {
namespace {

using namespace std::chrono_literals;
using xenbus::Bus;
using xenstore::Path;
using xenstore::Store;

constexpr std::uint32_t ring_ref = 8, ring_frame = 1;

/// Waits for threads of the disk's: true as soon as the condition holds.
template <class Condition>
bool soon(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + 10s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(100us);
  }
  return true;
}

struct DiskOnBus : testing::Test {
  DiskOnBus() {
    auto owned = std::make_unique<FakeImage>(1000);
    image = owned.get();
    const DiskLinks links{domain.channels, guest.entries,
                          [this] { return std::make_unique<FakeHolder>(guest.target); },
                          [waker = bus.waker()] { waker->wake(); }};
    bus.add({"vbd", DomId(1), 51712}, *Disk::make(std::move(owned), {51712, "xvda", false}, links, 2));
    EXPECT_TRUE(bus.start(domain.lock.held, {}));
    for (std::uint32_t n = 0; n < 64; ++n) guest.grant(100 + n, 10 + n);
  }
  ~DiskOnBus() override {
    if (bus.has("vbd", 51712)) image->stuck = false;
    bus.detach();
    for (std::uint32_t frame = 0; frame < FakeTarget::frame_count; ++frame)
      EXPECT_LE(guest.users_of(frame), frame == ring_frame || frame == ring_frame + 1 ? rings.size() : 0u);
  }
  static Path front(const std::string& name) {
    return *Path::parse("/local/domain/1/device/vbd/51712/" + name, DomId(0));
  }
  [[nodiscard]] std::string back(const std::string& name) {
    return store->read(*Path::parse("/local/domain/0/backend/vbd/1/51712/" + name, DomId(0))).value_or("");
  }
  [[nodiscard]] std::string error() {
    return store->read(*Path::parse("/local/domain/0/error/backend/vbd/1/51712/error", DomId(0)))
        .value_or("");
  }
  void set(const std::string& name, const std::string& value) {
    ASSERT_TRUE(store->write(front(name), value));
  }
  bool reaches(const std::string& state) {
    return soon([&] { return back("state") == state; });
  }
  /// Makes a ring and a port, as a frontend does for a queue.
  FakeFrontend& make_ring(const std::string& where = "", std::uint32_t queue = 0) {
    guest.grant(ring_ref + queue, ring_frame + queue);
    auto page = guest.frame(ring_frame + queue);
    for (std::size_t offset = 0; offset < 64; offset += 8) page.store(offset, std::uint64_t{0});
    port = domain.listen(0);
    set(where + "ring-ref", std::to_string(ring_ref + queue));
    set(where + "event-channel", std::to_string(port));
    return rings.emplace_back(page);
  }
  FakeFrontend& connect() {
    auto& ring = make_ring();
    set("state", "3");
    EXPECT_TRUE(reaches("4"));
    return ring;
  }
  void send() { EXPECT_EQ(domain.port_op(EVTCHNOP_send, port), 0); }
  std::optional<int> status_of(FakeFrontend& ring, const blkif_request& request) {
    ring.put(request);
    if (ring.push()) send();
    if (!soon([&] { return ring.responses_there() != 0; })) return std::nullopt;
    return ring.take()->status;
  }
  void close_and_reopen() {
    set("state", "5");
    EXPECT_TRUE(reaches("5"));
    set("state", "6");
    EXPECT_TRUE(reaches("6"));
    set("state", "1");
    EXPECT_TRUE(reaches("2"));
  }

  std::shared_ptr<Store> store = std::make_shared<Store>();
  Guest domain{1};
  GrantingGuest guest;
  Bus bus{store};
  FakeImage* image = nullptr;
  std::deque<FakeFrontend> rings;
  std::uint32_t port = 0;
};

TEST_F(DiskOnBus, a_frontend_learns_what_the_disk_is) {
  EXPECT_EQ(back("multi-queue-max-queues"), "2");
  EXPECT_EQ(back("feature-max-indirect-segments"), "256");
  EXPECT_EQ(back("feature-persistent"), "0");
  connect();
  EXPECT_EQ(back("sectors"), "1000");
  EXPECT_EQ(back("sector-size"), "512");
  EXPECT_EQ(back("info"), "0");
  EXPECT_EQ(back("feature-flush-cache") + back("feature-discard"), "11");
}

TEST_F(DiskOnBus, requests_are_served_by_a_thread) {
  auto& ring = connect();
  EXPECT_EQ(status_of(ring, transfer_request(BLKIF_OP_WRITE, 1, 0, {{100, 0, 7}})), BLKIF_RSP_OKAY);
  EXPECT_EQ(status_of(ring, transfer_request(BLKIF_OP_READ, 2, 999, {{100, 0, 1}})), BLKIF_RSP_ERROR);
}

TEST_F(DiskOnBus, a_disk_that_grows_is_told_and_usable_up_to_its_new_end) {
  auto& ring = connect();
  const auto last = transfer_request(BLKIF_OP_WRITE, 1, 1999, {{100, 0, 0}});
  EXPECT_EQ(status_of(ring, last), BLKIF_RSP_ERROR);
  ASSERT_EQ(bus.grow("vbd", 51712, 2000 * sector_bytes), 2000 * sector_bytes);
  EXPECT_TRUE(soon([&] { return back("sectors") == "2000"; }));
  EXPECT_EQ(back("state"), "4");
  EXPECT_EQ(status_of(ring, last), BLKIF_RSP_OKAY);
}

TEST_F(DiskOnBus, a_disk_that_grew_without_a_frontend_is_told_to_the_next) {
  ASSERT_TRUE(bus.grow("vbd", 51712, 3000 * sector_bytes));
  connect();
  EXPECT_EQ(back("sectors"), "3000");
}

TEST_F(DiskOnBus, a_disk_that_can_not_grow_stays_as_it_is) {
  connect();
  EXPECT_EQ(bus.grow("vbd", 51712, std::nullopt).error(), "a fake needs a size");
  EXPECT_EQ(bus.grow("vbd", 51728, 1 << 20).error(), "the guest has no such device");
  EXPECT_EQ(bus.grow("vif", 51712, 1 << 20).error(), "the guest has no such device");
  EXPECT_EQ(back("sectors"), "1000");
}

TEST_F(DiskOnBus, what_it_did_for_all_frontends_is_counted) {
  for (int frontend = 0; frontend < 2; ++frontend) {
    auto& ring = connect();
    EXPECT_EQ(status_of(ring, transfer_request(BLKIF_OP_WRITE, 1, 0, {{100, 0, 7}})), BLKIF_RSP_OKAY);
    set("state", "6");
    ASSERT_TRUE(reaches("6"));
    set("state", "1");
    ASSERT_TRUE(reaches("2"));
  }
  const auto all = bus.counts();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].device, "disk xvda");
  const std::map<std::string, std::uint64_t> counts(all[0].counts.begin(), all[0].counts.end());
  EXPECT_EQ(counts.at("requests"), 2u);
  EXPECT_EQ(counts.at("bytes_written"), 2 * 4096u);
  EXPECT_EQ(counts.at("failed"), 0u);
  EXPECT_GE(counts.at("events_received"), 2u);
}

TEST_F(DiskOnBus, what_is_in_the_ring_before_the_connection_is_not_missed) {
  auto& ring = make_ring();
  ring.put(transfer_request(BLKIF_OP_WRITE, 1, 0, {{100, 0, 7}}));
  ring.push();
  send();  // to an unbound port
  set("state", "3");
  ASSERT_TRUE(reaches("4"));
  EXPECT_TRUE(soon([&] { return ring.responses_there() == 1; }));
}

TEST_F(DiskOnBus, frontends_come_one_after_the_other) {
  for (int life = 0; life < 5; ++life) {
    auto& ring = connect();
    EXPECT_EQ(status_of(ring, transfer_request(BLKIF_OP_WRITE, 1, 0, {{100, 0, 7}})), BLKIF_RSP_OKAY);
    close_and_reopen();
    EXPECT_EQ(domain.status(port).status, std::uint32_t{EVTCHNSTAT_unbound});
    EXPECT_TRUE(guest.revoke(ring_ref)) << "the ring page is the frontend's again";
  }
}

TEST_F(DiskOnBus, a_dead_frontends_transfers_end_before_the_next_one_connects) {
  auto& ring = connect();
  image->stuck = true;
  ring.put(transfer_request(BLKIF_OP_READ, 1, 0, {{100, 0, 7}}));
  ring.push();
  send();
  ASSERT_TRUE(soon([&] { return (guest.flags(100) & GTF_writing) != 0; }));
  set("state", "1");
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(back("state"), "4");
  EXPECT_FALSE(guest.revoke(100));
  image->stuck = false;
  EXPECT_TRUE(reaches("2"));
  EXPECT_TRUE(guest.revoke(100));
}

TEST_F(DiskOnBus, a_broken_ring_closes_the_device_with_a_reason) {
  auto& ring = connect();
  ring.set_producer(1000);
  send();
  EXPECT_TRUE(reaches("5"));
  EXPECT_NE(error().find("ring"), std::string::npos);
  close_and_reopen();
  EXPECT_EQ(error(), "");
  auto& next = connect();
  EXPECT_EQ(status_of(next, transfer_request(BLKIF_OP_WRITE, 1, 0, {{100, 0, 7}})), BLKIF_RSP_OKAY);
}

TEST_F(DiskOnBus, several_queues_are_served) {
  set("multi-queue-num-queues", "2");
  auto& first = make_ring("queue-0/", 0);
  const auto first_port = port;
  auto& second = make_ring("queue-1/", 1);
  const auto second_port = port;
  set("state", "3");
  ASSERT_TRUE(reaches("4"));
  port = first_port;
  EXPECT_EQ(status_of(first, transfer_request(BLKIF_OP_WRITE, 1, 0, {{100, 0, 7}})), BLKIF_RSP_OKAY);
  port = second_port;
  EXPECT_EQ(status_of(second, transfer_request(BLKIF_OP_READ, 2, 0, {{101, 0, 7}})), BLKIF_RSP_OKAY);
}

TEST_F(DiskOnBus, a_frontend_that_is_closed_is_served_until_all_its_ports_are_closed) {
  set("multi-queue-num-queues", "2");
  auto& first = make_ring("queue-0/", 0);
  const auto first_port = port;
  auto& second = make_ring("queue-1/", 1);
  const auto second_port = port;
  set("state", "3");
  ASSERT_TRUE(reaches("4"));
  for (const auto of_queue : {first_port, second_port})
    EXPECT_FALSE(domain.channels.is_pending(Port(of_queue)));
  ASSERT_TRUE(bus.unplug("vbd", 51712, xenbus::Departure::asked));
  set("state", "6");
  ASSERT_TRUE(reaches("")) << "the nodes go first";
  for (const auto of_queue : {first_port, second_port})
    EXPECT_TRUE(soon([&] { return domain.channels.is_pending(Port(of_queue)); }))
        << "an event starts its queue";
  for (auto* ring : {&first, &second}) {
    port = ring == &first ? first_port : second_port;
    EXPECT_EQ(status_of(*ring, transfer_request(BLKIF_OP_WRITE, 1, 0, {{100, 0, 7}})), BLKIF_RSP_OKAY);
    EXPECT_TRUE(bus.has("vbd", 51712));
    EXPECT_EQ(domain.port_op(EVTCHNOP_close, port), 0);
  }
  EXPECT_TRUE(soon([&] { return !bus.has("vbd", 51712); }));
}

TEST_F(DiskOnBus, nodes_that_make_no_connection_are_refused_with_a_reason) {
  const struct {
    const char* name;
    const char* value;
    const char* reason;
  } bad[] = {{"protocol", "x86_32-abi", "protocol"},
             {"ring-page-order", "1", "larger than one page"},
             {"num-ring-pages", "2", "larger than one page"},
             {"multi-queue-num-queues", "0", "multi-queue-num-queues"},
             {"multi-queue-num-queues", "3", "multi-queue-num-queues"},
             {"multi-queue-num-queues", "4294967296", "multi-queue-num-queues"},
             {"multi-queue-num-queues", "2", "ring-ref"},
             {"ring-ref", "99999", "ring-ref"},
             {"ring-ref", "9", "ring-ref"},
             {"ring-ref", "nonsense", "ring-ref"},
             {"event-channel", "0", "event-channel"},
             {"event-channel", "4000000000", "event-channel"},
             {"event-channel", "", "event-channel"}};
  for (const auto& [name, value, reason] : bad) {
    make_ring();
    set(name, value);
    set("state", "3");
    EXPECT_TRUE(reaches("5")) << name << "=" << value;
    EXPECT_NE(error().find(reason), std::string::npos) << name << "=" << value << ": " << error();
    EXPECT_TRUE(guest.revoke(ring_ref)) << "nothing is left of the attempt";
    close_and_reopen();
    for (const char* node : {"protocol", "ring-page-order", "num-ring-pages", "multi-queue-num-queues"})
      (void)store->remove(front(node));
  }
  auto& ring = connect();
  EXPECT_EQ(status_of(ring, transfer_request(BLKIF_OP_WRITE, 1, 0, {{100, 0, 7}})), BLKIF_RSP_OKAY);
}

TEST_F(DiskOnBus, a_port_of_another_kind_is_not_taken) {
  make_ring();
  const std::uint32_t ipi = domain.bind_ipi(0), for_another = domain.listen(7);
  for (const std::uint32_t other : {ipi, for_another}) {
    set("event-channel", std::to_string(other));
    set("state", "3");
    EXPECT_TRUE(reaches("5"));
    close_and_reopen();
  }
}

TEST_F(DiskOnBus, a_guest_that_closes_its_port_is_not_notified_on_the_next_of_that_number) {
  auto& ring = connect();
  ASSERT_EQ(domain.port_op(EVTCHNOP_close, port), 0);
  const std::uint32_t again = domain.listen(7);
  ASSERT_EQ(again, port);
  close_and_reopen();
  EXPECT_EQ(domain.status(again).status, std::uint32_t{EVTCHNSTAT_unbound});
  EXPECT_EQ(domain.status(again).u.unbound.dom, 7);
  (void)ring;
}

TEST_F(DiskOnBus, the_end_of_the_guest_waits_for_what_is_on_its_way) {
  auto& ring = connect();
  image->stuck = true;
  ring.put(transfer_request(BLKIF_OP_WRITE, 1, 0, {{100, 0, 7}}));
  ring.push();
  send();
  ASSERT_TRUE(soon([&] { return (guest.flags(100) & GTF_reading) != 0; }));
  std::atomic<bool> over = false;
  std::thread end([&] {
    bus.quiesce();
    over = true;
  });
  std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(over);
  image->stuck = false;
  end.join();
  EXPECT_TRUE(guest.revoke(100));
}

TEST_F(DiskOnBus, nodes_written_without_end_stop_nobody_else) {
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (int n = 0; !done; ++n) (void)store->write(front("state/" + std::to_string(n % 2000)), "x");
  });
  auto& ring = connect();
  EXPECT_EQ(status_of(ring, transfer_request(BLKIF_OP_WRITE, 1, 0, {{100, 0, 7}})), BLKIF_RSP_OKAY);
  done = true;
  writer.join();
}

}  // namespace
}  // namespace pinfold::devices::block
