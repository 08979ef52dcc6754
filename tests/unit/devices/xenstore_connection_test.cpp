// A guest's connection to the store: its ring, and the requests that come through it.
#include "devices/xenstore/connection.hpp"

#include <atomic>
#include <future>
#include <random>
#include <string>
#include <thread>

#include "devices/xenstore/domain_nodes.hpp"
#include "devices/xenstore/domain_requests.hpp"
#include "fakes.hpp"
#include "xenstore_fixtures.hpp"

namespace pinfold::devices::xenstore {
namespace {

using namespace std::string_literals;

constexpr std::size_t req_cons = 2048, req_prod = 2052, rsp_cons = 2056, rsp_prod = 2060, error_field = 2072;

const std::string uuid = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

/// The guest's side of the ring page.
class ConnectionTest : public testing::Test {
 protected:
  ConnectionTest() {
    DomainNodes nodes{.domain = DomId(1), .name = "guest", .uuid = uuid, .memory_kib = 262144, .vcpus = 2};
    EXPECT_TRUE(populate(*store, nodes));
  }
  void put(const std::string& bytes) {
    auto page = ring.shared();
    auto prod = page.load<std::uint32_t>(req_prod);
    for (const char c : bytes) page.store(prod++ & 1023, c);
    page.store(req_prod, prod);
  }
  /// Sends any number of bytes as fast as the ring takes them, reading replies meanwhile.
  void send(std::string bytes) {
    while (!bytes.empty()) {
      auto page = ring.shared();
      const std::size_t room =
          1024 - (page.load<std::uint32_t>(req_prod) - page.load<std::uint32_t>(req_cons));
      const std::size_t part = std::min(room, bytes.size());
      put(bytes.substr(0, part));
      bytes.erase(0, part);
      connection->on_guest_event();
      take();
    }
  }
  void take() {
    auto page = ring.shared();
    for (;;) {
      auto cons = page.load<std::uint32_t>(rsp_cons);
      const auto prod = page.load<std::uint32_t>(rsp_prod);
      if (cons == prod) return;
      while (cons != prod) received += page.load<char>(1024 + (cons++ & 1023));
      page.store(rsp_cons, cons);
      connection->on_guest_event();
    }
  }
  /// The next message that the guest has received.
  Message next() {
    take();
    EXPECT_GE(received.size(), sizeof(xsd_sockmsg));
    return take_message(received);
  }
  Message ask(std::uint32_t type, const std::string& payload, TransactionId tx = no_tx) {
    send(Message{type, ++last_request, tx, payload}.wire());
    auto reply = next();
    EXPECT_EQ(reply.request, last_request);
    EXPECT_EQ(reply.transaction, tx);
    EXPECT_TRUE(reply.type == type || reply.type == XS_ERROR);
    return reply;
  }

  FakePage ring, other_ring;
  int notified = 0;
  std::shared_ptr<Store> store = std::make_shared<Store>();
  std::shared_ptr<Connection> connection =
      Connection::create(store, DomId(1), ring.shared(), [this] { ++notified; });
  std::string received;
  std::uint32_t last_request = 0;
};

TEST_F(ConnectionTest, a_guest_finds_its_nodes) {
  EXPECT_EQ(ask(XS_READ, "domid\0"s).payload, "1");
  EXPECT_EQ(ask(XS_READ, "memory/target\0"s).payload, "262144");
  EXPECT_EQ(ask(XS_DIRECTORY, "device\0"s).payload, "");
  EXPECT_EQ(ask(XS_DIRECTORY, "cpu\0"s).payload, "0\0001\0"s);
  EXPECT_EQ(ask(XS_READ, "/local/domain/1/name\0"s).payload, "guest");
  EXPECT_EQ(ask(XS_READ, "vm\0"s).payload, "/vm/" + uuid);
  EXPECT_EQ(ask(XS_READ, "/vm/" + uuid + "/uuid\0"s).payload, uuid);
  EXPECT_EQ(ask(XS_WRITE, "/vm/" + uuid + "/uuid\0mine"s).payload, "EACCES\0"s);
  DomainNodes without{.domain = DomId(2), .name = "guest"};
  EXPECT_FALSE(populate(*store, without));
  EXPECT_EQ(ask(XS_GET_PERMS, "name\0"s).payload, "n0\0r1\0"s);
  EXPECT_EQ(ask(XS_WRITE, "name\0mine"s).payload, "EACCES\0"s);
  EXPECT_EQ(ask(XS_WRITE, "data/x\0mine"s).payload, "OK\0"s);
  EXPECT_EQ(ask(XS_WRITE, "control/feature-poweroff\0001"s).payload, "OK\0"s);
  EXPECT_EQ(ask(XS_READ, "data/x\0"s).payload, "mine");
  EXPECT_GT(notified, 0);
}

TEST_F(ConnectionTest, a_shutdown_request_reaches_the_guests_watch_and_its_acknowledgement_is_stored) {
  EXPECT_EQ(ask(XS_WATCH, "control/shutdown\0tok\0"s).payload, "OK\0"s);
  auto event = next();
  EXPECT_EQ(event.type, unsigned{XS_WATCH_EVENT});
  EXPECT_EQ(event.payload, "control/shutdown\0tok\0"s);
  const int before = notified;
  ASSERT_TRUE(ask_shutdown(*store, DomId(1), ShutdownRequest::poweroff));
  EXPECT_GT(notified, before);
  event = next();
  EXPECT_EQ(event.type, unsigned{XS_WATCH_EVENT});
  EXPECT_EQ(event.payload, "control/shutdown\0tok\0"s);
  EXPECT_EQ(ask(XS_READ, "control/shutdown\0"s).payload, "poweroff");
  EXPECT_EQ(ask(XS_WRITE, "control/shutdown\0"s).payload, "OK\0"s);
  EXPECT_EQ(*store->read(path("control/shutdown")), "");
}

TEST_F(ConnectionTest, transactions_work_over_the_wire) {
  const auto started = ask(XS_TRANSACTION_START, "\0"s);
  const TransactionId tx(static_cast<std::uint32_t>(std::stoul(started.payload)));
  EXPECT_EQ(ask(XS_READ, "data\0"s, tx).payload, "");
  EXPECT_EQ(ask(XS_WRITE, "data/a\0v"s, tx).payload, "OK\0"s);
  EXPECT_EQ(ask(XS_TRANSACTION_START, "\0"s, tx).payload, "EBUSY\0"s);
  EXPECT_EQ(ask(XS_TRANSACTION_END, "X\0"s, tx).payload, "EINVAL\0"s);
  EXPECT_EQ(ask(XS_TRANSACTION_END, "T\0"s, tx).payload, "OK\0"s);
  EXPECT_EQ(ask(XS_TRANSACTION_END, "T\0"s, tx).payload, "ENOENT\0"s);
  EXPECT_EQ(ask(XS_READ, "data/a\0"s).payload, "v");
  EXPECT_EQ(ask(XS_READ, "data/a\0"s, TransactionId(99)).payload, "ENOENT\0"s);
}

TEST_F(ConnectionTest, requests_for_the_toolstack_are_refused_and_unknown_ones_too) {
  for (const std::uint32_t type :
       {XS_CONTROL, XS_INTRODUCE, XS_RELEASE, XS_RESUME, XS_SET_TARGET, XS_IS_DOMAIN_INTRODUCED}) {
    EXPECT_EQ(ask(type, "1\0"s).payload, "EACCES\0"s) << type;
  }
  for (const std::uint32_t type : {0x0fu, 0x10u, 0x14u, 0x7fffffffu, 0xffffu}) {
    EXPECT_EQ(ask(type, "1\0"s).payload, "ENOSYS\0"s) << type;
  }
}

TEST_F(ConnectionTest, domains_are_named_and_known) {
  EXPECT_EQ(ask(XS_GET_DOMAIN_PATH, "5\0"s).payload, "/local/domain/5\0"s);
  EXPECT_EQ(ask(XS_GET_DOMAIN_PATH, "5x\0"s).payload, "EINVAL\0"s);
  EXPECT_TRUE(store->is_introduced(DomId(1)));
  EXPECT_FALSE(store->is_introduced(DomId(5)));
}

TEST_F(ConnectionTest, payloads_without_their_terminator_are_einval) {
  for (const auto type :
       {XS_READ, XS_DIRECTORY, XS_GET_PERMS, XS_MKDIR, XS_RM, XS_WATCH, XS_UNWATCH, XS_WRITE, XS_SET_PERMS,
        XS_TRANSACTION_END, XS_GET_DOMAIN_PATH, XS_DIRECTORY_PART}) {
    EXPECT_EQ(ask(type, "data").payload, "EINVAL\0"s) << type;
    EXPECT_EQ(ask(type, "").payload, "EINVAL\0"s) << type;
  }
}

TEST_F(ConnectionTest, a_directory_too_long_for_one_message_comes_in_parts) {
  std::vector<std::string> names;
  for (int i = 100; i < 400; ++i) names.push_back("some-rather-long-name-" + std::to_string(i));
  for (const auto& name : names) ASSERT_TRUE(store->write(path("data/" + name), "", Permissions(DomId(1))));
  EXPECT_EQ(ask(XS_DIRECTORY, "data\0"s).payload, "E2BIG\0"s);
  std::string all;
  for (;;) {
    auto part = ask(XS_DIRECTORY_PART, "data\0"s + std::to_string(all.size()) + '\0').payload;
    ASSERT_LE(part.size(), std::size_t{XENSTORE_PAYLOAD_MAX});
    part.erase(0, part.find('\0') + 1);
    ASSERT_FALSE(part.empty());
    const bool last = part.size() == 1 || part.ends_with("\0\0"s);
    all += last ? part.substr(0, part.size() - 1) : part;
    if (last) break;
  }
  std::string expected;
  for (const auto& name : names) expected += name + '\0';
  EXPECT_EQ(all, expected);
}

TEST_F(ConnectionTest, the_longest_message_is_served_and_one_byte_more_ends_the_service) {
  const std::string longest = "data/x\0"s + std::string(XENSTORE_PAYLOAD_MAX - 7, 'v');
  EXPECT_EQ(ask(XS_WRITE, longest).payload, "ENOSPC\0"s) << "framed, but above the quota";
  EXPECT_FALSE(connection->broken());
  const xsd_sockmsg header{XS_WRITE, 1, 0, XENSTORE_PAYLOAD_MAX + 1};
  put(to_text(std::as_bytes(std::span(&header, 1))));
  connection->on_guest_event();
  EXPECT_TRUE(connection->broken());
  EXPECT_EQ(ring.shared().load<std::uint32_t>(error_field), unsigned{XENSTORE_ERROR_PROTO});
  connection->on_guest_event();
  connection->events_ready();
}

TEST_F(ConnectionTest, contradictory_indices_end_the_service) {
  ring.shared().store<std::uint32_t>(req_prod, 1025);
  connection->on_guest_event();
  EXPECT_TRUE(connection->broken());
  EXPECT_EQ(ring.shared().load<std::uint32_t>(error_field), unsigned{XENSTORE_ERROR_RINGIDX});
  EXPECT_EQ(ring.shared().load<std::uint32_t>(rsp_prod), 0u);
}

TEST_F(ConnectionTest, a_reply_consumer_out_of_range_ends_the_service) {
  ring.shared().store<std::uint32_t>(rsp_cons, 77);
  put(Message{XS_READ, 1, no_tx, "domid\0"s}.wire());
  connection->on_guest_event();
  EXPECT_TRUE(connection->broken());
}

TEST_F(ConnectionTest, a_guest_that_does_not_read_replies_stops_only_itself) {
  const std::string request = Message{XS_GET_DOMAIN_PATH, 1, no_tx, "1\0"s}.wire();
  std::size_t sent = 0;
  for (;; ++sent) {
    auto page = ring.shared();
    if (1024 - (page.load<std::uint32_t>(req_prod) - page.load<std::uint32_t>(req_cons)) < request.size())
      break;
    put(request);
    connection->on_guest_event();
    ASSERT_LT(sent, 1000u);
  }
  std::size_t replies = 0;
  for (take(); !received.empty(); take(), ++replies) EXPECT_EQ(next().payload, "/local/domain/1\0"s);
  EXPECT_EQ(replies, sent);
}

TEST_F(ConnectionTest, a_message_may_arrive_byte_by_byte) {
  for (const char c : Message{XS_READ, 9, no_tx, "domid\0"s}.wire()) {
    put(std::string(1, c));
    connection->on_guest_event();
  }
  EXPECT_EQ(next().payload, "1");
}

TEST_F(ConnectionTest, another_domains_change_wakes_the_watcher) {
  auto other = Connection::create(store, DomId(2), other_ring.shared(), {});
  EXPECT_EQ(ask(XS_WATCH, "/shared\0t\0"s).payload, "OK\0"s);
  (void)next();
  ASSERT_TRUE(store->write(path("/shared"), "", *Permissions::parse({"b0"})));
  (void)next();
  const std::string request = Message{XS_WRITE, 1, no_tx, "/shared/x\0v"s}.wire();
  auto page = other_ring.shared();
  page.copy_in(0, as_bytes(request));
  page.store(req_prod, static_cast<std::uint32_t>(request.size()));
  const int before = notified;
  other->on_guest_event();
  EXPECT_GT(notified, before);
  EXPECT_EQ(next().payload, "/shared/x\0t\0"s);
}

TEST_F(ConnectionTest, a_closed_connection_leaves_no_watch_behind) {
  EXPECT_EQ(ask(XS_WATCH, "data\0t\0"s).payload, "OK\0"s);
  connection.reset();
  EXPECT_FALSE(store->is_introduced(DomId(1)));
  EXPECT_TRUE(store->write(path("data"), "x"));
}

TEST_F(ConnectionTest, what_is_closed_serves_and_tells_nobody_whoever_still_has_it) {
  EXPECT_EQ(ask(XS_WATCH, "data\0t\0"s).payload, "OK\0"s);
  (void)next();
  const int told = notified;
  connection->close();  // while a thread that delivers events of another guest may have it
  EXPECT_FALSE(store->is_introduced(DomId(1)));
  EXPECT_TRUE(store->write(path("data"), "x"));
  const auto answered = ring.shared().load<std::uint32_t>(rsp_prod);
  ring.shared().store<std::uint32_t>(req_prod, ring.shared().load<std::uint32_t>(req_prod) + 16);
  connection->events_ready();
  EXPECT_EQ(connection->on_guest_event(), Served::all);
  EXPECT_EQ(ring.shared().load<std::uint32_t>(rsp_prod), answered);
  EXPECT_EQ(notified, told);
  connection->close();
}

TEST_F(ConnectionTest, closing_waits_for_whoever_tells_the_guest) {
  std::promise<void> is_told, may_return;
  std::atomic<bool> returned = false;
  auto slow = Connection::create(store, DomId(3), other_ring.shared(), [&] {
    is_told.set_value();
    may_return.get_future().wait();
    returned = true;
  });
  const std::string request = Message{XS_READ, 1, no_tx, "domid\0"s}.wire();
  auto page = other_ring.shared();
  page.copy_in(0, as_bytes(request));
  page.store(req_prod, static_cast<std::uint32_t>(request.size()));
  std::thread guest([&] { slow->on_guest_event(); });
  is_told.get_future().wait();
  std::thread end([&] {
    slow->close();
    EXPECT_TRUE(returned);
  });
  while (!slow->is_closed()) std::this_thread::yield();
  may_return.set_value();
  guest.join();
  end.join();
}

TEST_F(ConnectionTest, random_bytes_never_break_the_store) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    FakePage page;
    auto victim = Connection::create(store, DomId(1), page.shared(), {});
    for (int i = 0; i < 20; ++i) {
      std::string payload;
      const auto size = random() % 40;
      for (unsigned b = 0; b < size; ++b) payload += "/ab@\0x1TF\xff"[random() % 10];
      auto bytes = Message{static_cast<std::uint32_t>(random() % 24), 1,
                           TransactionId(static_cast<std::uint32_t>(random() % 3)), payload}
                       .wire();
      if (random() % 10 == 0) bytes[random() % bytes.size()] = static_cast<char>(random());
      auto shared = page.shared();
      auto prod = shared.load<std::uint32_t>(req_prod);
      for (const char c : bytes) shared.store(prod++ & 1023, c);
      shared.store(req_prod, prod);
      victim->on_guest_event();
      shared.store(rsp_cons, shared.load<std::uint32_t>(rsp_prod));
    }
  }
  EXPECT_EQ(*store->read(path("name")), "guest");
}

}  // namespace
}  // namespace pinfold::devices::xenstore
