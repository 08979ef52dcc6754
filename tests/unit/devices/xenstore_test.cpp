#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>

#include "devices/xenstore/connection.hpp"
#include "devices/xenstore/domain_nodes.hpp"
#include "devices/xenstore/domain_requests.hpp"
#include "fakes.hpp"

namespace pinfold::devices::xenstore {
namespace {

using namespace std::string_literals;

constexpr TransactionId no_tx{0};

Path path(std::string_view text, DomId domain = DomId(1)) { return *Path::parse(text, domain); }

// ---- paths and permissions ----

TEST(XenstorePath, relative_paths_start_at_the_clients_home) {
  EXPECT_EQ(path("device/vif", DomId(7)).text(), "/local/domain/7/device/vif");
  EXPECT_EQ(path("/a").text(), "/a");
}

TEST(XenstorePath, malformed_paths_are_refused) {
  for (const auto& bad : {""s, "/a/"s, "//"s, "/a//b"s, "a/"s, "/a b"s, "/a\0b"s, "/\xff"s, "/a."s}) {
    EXPECT_FALSE(Path::parse(bad, DomId(1))) << bad;
  }
  EXPECT_TRUE(Path::parse("/" + std::string(XENSTORE_REL_PATH_MAX - 1, 'a'), DomId(1)));
  EXPECT_FALSE(Path::parse("/" + std::string(XENSTORE_REL_PATH_MAX, 'a'), DomId(1)));
  EXPECT_TRUE(Path::parse("/local/domain/7/" + std::string(XENSTORE_REL_PATH_MAX, 'a'), DomId(1)));
  EXPECT_FALSE(Path::parse("/local/domain/7/" + std::string(XENSTORE_REL_PATH_MAX + 1, 'a'), DomId(1)));
  EXPECT_FALSE(Path::parse("/local/domain/x/" + std::string(XENSTORE_REL_PATH_MAX, 'a'), DomId(1)));
  EXPECT_TRUE(Path::parse(std::string(XENSTORE_REL_PATH_MAX, 'a'), DomId(1)));
  EXPECT_FALSE(Path::parse(std::string(XENSTORE_REL_PATH_MAX + 1, 'a'), DomId(1)));
}

TEST(XenstorePath, a_name_that_starts_alike_is_not_within) {
  EXPECT_TRUE(path("/a/b").is_within(path("/a")));
  EXPECT_TRUE(path("/a").is_within(path("/a")));
  EXPECT_FALSE(path("/ab").is_within(path("/a")));
  EXPECT_TRUE(path("/ab").is_within(path("/")));
}

TEST(XenstorePermissions, the_wire_form_survives_a_round_trip_and_garbage_is_refused) {
  const auto p = Permissions::parse({"n0", "r5", "b6", "w7"});
  ASSERT_TRUE(p);
  EXPECT_EQ(p->wire(), "n0\0r5\0b6\0w7\0"s);
  EXPECT_TRUE(p->allows({DomId(5)}, Want::read));
  EXPECT_FALSE(p->allows({DomId(5)}, Want::write));
  EXPECT_FALSE(p->allows({DomId(8)}, Want::read));
  for (const char* bad : {"", "r", "x5", "r-1", "r70000", "r5x", "5"})
    EXPECT_FALSE(Permissions::parse({bad})) << bad;
  EXPECT_FALSE(Permissions::parse({}));
}

// ---- the store ----

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    EXPECT_TRUE(store.write(path("/local/domain/1"), "", Permissions(DomId(1))));
    EXPECT_TRUE(store.write(path("/local/domain/2"), "", Permissions(DomId(2))));
    EXPECT_TRUE(store.write(path("/secret/x"), "s"));
  }
  Quotas quotas{
      .nodes = 20, .value_bytes = 64, .watches = 4, .transactions = 2, .transaction_nodes = 30, .events = 8};
  Store store{quotas};
  ClientId one = store.add_client(DomId(1), {});
  ClientId two = store.add_client(DomId(2), {});
};

TEST_F(StoreTest, writing_creates_the_path_and_the_writer_owns_it) {
  ASSERT_TRUE(store.write(one, no_tx, path("a/b/c"), "v"));
  EXPECT_EQ(*store.read(one, no_tx, path("a/b/c")), "v");
  EXPECT_EQ(*store.read(one, no_tx, path("a/b")), "");
  EXPECT_EQ(store.permissions(one, no_tx, path("a"))->owner(), DomId(1));
  EXPECT_EQ(store.directory(one, no_tx, path("a"))->names, std::vector<std::string>{"b"});
}

TEST_F(StoreTest, a_domain_cannot_see_or_change_what_is_not_its_own) {
  ASSERT_TRUE(store.write(one, no_tx, path("a"), "v"));
  const auto theirs = path("/local/domain/1/a");
  EXPECT_EQ(store.read(two, no_tx, theirs).error(), Errno::eacces);
  EXPECT_EQ(store.write(two, no_tx, theirs, "x").error(), Errno::eacces);
  EXPECT_EQ(store.write(two, no_tx, theirs.child("new"), "x").error(), Errno::eacces);
  EXPECT_EQ(store.remove(two, no_tx, theirs).error(), Errno::eacces);
  EXPECT_EQ(store.mkdir(two, no_tx, theirs.child("d")).error(), Errno::eacces);
  EXPECT_EQ(store.directory(two, no_tx, path("/secret")).error(), Errno::eacces);
  EXPECT_EQ(store.set_permissions(two, no_tx, theirs, Permissions(DomId(2))).error(), Errno::eacces);
}

TEST_F(StoreTest, a_missing_node_below_an_unreadable_one_does_not_tell_that_it_is_missing) {
  EXPECT_EQ(store.read(one, no_tx, path("/secret/absent")).error(), Errno::eacces);
  EXPECT_EQ(store.read(one, no_tx, path("absent")).error(), Errno::enoent);
}

TEST_F(StoreTest, an_owner_may_share_but_not_give_away) {
  ASSERT_TRUE(store.write(one, no_tx, path("a"), "v"));
  EXPECT_EQ(store.set_permissions(one, no_tx, path("a"), Permissions(DomId(2))).error(), Errno::eperm);
  ASSERT_TRUE(store.set_permissions(one, no_tx, path("a"), *Permissions::parse({"n1", "r2"})));
  EXPECT_EQ(*store.read(two, no_tx, path("/local/domain/1/a")), "v");
  EXPECT_EQ(store.write(two, no_tx, path("/local/domain/1/a"), "x").error(), Errno::eacces);
  EXPECT_EQ(
      store.set_permissions(one, no_tx, path("a"), *Permissions::parse({"n1", "r2", "r3", "r4", "r5", "r6"}))
          .error(),
      Errno::enospc);
}

TEST_F(StoreTest, removal_takes_the_whole_subtree_and_gives_back_the_quota) {
  ASSERT_TRUE(store.write(one, no_tx, path("d/0"), ""));
  for (int i = 1; i < 18; ++i) ASSERT_TRUE(store.write(one, no_tx, path("d/" + std::to_string(i)), "")) << i;
  EXPECT_EQ(store.write(one, no_tx, path("more"), "").error(), Errno::enospc);
  EXPECT_EQ(store.read(one, no_tx, path("more")).error(), Errno::enoent);
  ASSERT_TRUE(store.write(two, no_tx, path("other", DomId(2)), ""));
  ASSERT_TRUE(store.remove(one, no_tx, path("d")));
  EXPECT_EQ(store.read(one, no_tx, path("d/3")).error(), Errno::enoent);
  EXPECT_TRUE(store.write(one, no_tx, path("more"), ""));
  EXPECT_TRUE(store.remove(one, no_tx, path("absent"))) << "its parent exists";
  EXPECT_EQ(store.remove(one, no_tx, path("no/such")).error(), Errno::enoent);
  EXPECT_EQ(store.remove(one, no_tx, path("/")).error(), Errno::einval);
}

TEST_F(StoreTest, a_creation_over_quota_creates_none_of_the_path) {
  EXPECT_EQ(store.write(one, no_tx, path("1/2/3/4/5/6/7/8/9/a/b/c/d/e/f/g/h/i/j/k"), "").error(),
            Errno::enospc);
  EXPECT_EQ(store.read(one, no_tx, path("1")).error(), Errno::enoent);
}

TEST_F(StoreTest, values_are_bounded) {
  EXPECT_TRUE(store.write(one, no_tx, path("v"), std::string(64, 'x')));
  EXPECT_EQ(store.write(one, no_tx, path("v"), std::string(65, 'y')).error(), Errno::enospc);
  EXPECT_EQ(*store.read(one, no_tx, path("v")), std::string(64, 'x'));
}

TEST_F(StoreTest, a_transaction_is_seen_by_others_only_when_it_ends) {
  const auto tx = *store.start_transaction(one);
  ASSERT_TRUE(store.write(one, tx, path("a"), "v"));
  EXPECT_EQ(*store.read(one, tx, path("a")), "v");
  EXPECT_EQ(store.read(one, no_tx, path("a")).error(), Errno::enoent);
  ASSERT_TRUE(store.end_transaction(one, tx, true));
  EXPECT_EQ(*store.read(one, no_tx, path("a")), "v");
  EXPECT_EQ(store.end_transaction(one, tx, true).error(), Errno::enoent);
}

TEST_F(StoreTest, an_aborted_transaction_leaves_nothing) {
  const auto tx = *store.start_transaction(one);
  ASSERT_TRUE(store.write(one, tx, path("a"), "v"));
  ASSERT_TRUE(store.end_transaction(one, tx, false));
  EXPECT_EQ(store.read(one, no_tx, path("a")).error(), Errno::enoent);
}

TEST_F(StoreTest, what_a_transaction_read_must_not_have_changed_when_it_ends) {
  ASSERT_TRUE(store.write(one, no_tx, path("a"), "1"));
  const auto tx = *store.start_transaction(one);
  EXPECT_EQ(*store.read(one, tx, path("a")), "1");
  ASSERT_TRUE(store.write(one, tx, path("b"), "from 1"));
  ASSERT_TRUE(store.write(path("/local/domain/1/a"), "2"));
  EXPECT_EQ(*store.read(one, tx, path("a")), "1") << "the snapshot stands";
  EXPECT_EQ(store.end_transaction(one, tx, true).error(), Errno::eagain);
  EXPECT_EQ(store.read(one, no_tx, path("b")).error(), Errno::enoent);
}

TEST_F(StoreTest, a_node_that_a_transaction_missed_must_not_have_appeared) {
  const auto tx = *store.start_transaction(one);
  EXPECT_EQ(store.read(one, tx, path("a")).error(), Errno::enoent);
  ASSERT_TRUE(store.write(one, no_tx, path("a"), "now"));
  EXPECT_EQ(store.end_transaction(one, tx, true).error(), Errno::eagain);
}

TEST_F(StoreTest, a_listed_directory_must_not_have_changed) {
  ASSERT_TRUE(store.write(one, no_tx, path("d/x"), ""));
  const auto tx = *store.start_transaction(one);
  EXPECT_TRUE(store.directory(one, tx, path("d")));
  ASSERT_TRUE(store.write(one, no_tx, path("d/y"), ""));
  EXPECT_EQ(store.end_transaction(one, tx, true).error(), Errno::eagain);
}

TEST_F(StoreTest, unrelated_changes_do_not_disturb_a_transaction) {
  ASSERT_TRUE(store.write(one, no_tx, path("a"), "1"));
  ASSERT_TRUE(store.write(one, no_tx, path("z"), "1"));
  const auto tx = *store.start_transaction(one);
  ASSERT_TRUE(store.write(one, tx, path("a"), "2"));
  ASSERT_TRUE(store.write(one, no_tx, path("z"), "2"));
  ASSERT_TRUE(store.write(path("/elsewhere"), "x"));
  ASSERT_TRUE(store.end_transaction(one, tx, true));
  EXPECT_EQ(*store.read(one, no_tx, path("a")), "2");
  EXPECT_EQ(*store.read(one, no_tx, path("z")), "2");
}

TEST_F(StoreTest, a_quota_used_up_meanwhile_fails_the_whole_commit) {
  const auto tx = *store.start_transaction(one);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(store.mkdir(one, tx, path("t/" + std::to_string(i))));
  ASSERT_TRUE(store.mkdir(one, no_tx, path("other")));
  // The new sibling is a conflict with the creation of `t`; a grandchild of another node is not.
  EXPECT_EQ(store.end_transaction(one, tx, true).error(), Errno::eagain);
  const auto again = *store.start_transaction(one);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(store.mkdir(one, again, path("t/" + std::to_string(i))));
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(store.mkdir(one, no_tx, path("other/" + std::to_string(i))));
  EXPECT_EQ(store.end_transaction(one, again, true).error(), Errno::enospc);
  EXPECT_EQ(store.read(one, no_tx, path("t")).error(), Errno::enoent);
}

TEST_F(StoreTest, transactions_are_bounded_in_number_and_size) {
  const auto tx = *store.start_transaction(one);
  ASSERT_TRUE(store.start_transaction(one));
  EXPECT_EQ(store.start_transaction(one).error(), Errno::enospc);
  Errno last{};
  for (int i = 0; i < 100; ++i) {
    const auto read = store.read(one, tx, path("n" + std::to_string(i)));
    last = read.error();
    if (last == Errno::enospc) break;
  }
  EXPECT_EQ(last, Errno::enospc);
}

TEST_F(StoreTest, a_watch_fires_at_once_and_for_everything_at_or_below_it) {
  ASSERT_TRUE(store.watch(one, "dev", "t"));
  EXPECT_EQ(store.next_event(one), (WatchEvent{"dev", "t"}));
  ASSERT_TRUE(store.write(one, no_tx, path("dev"), ""));
  ASSERT_TRUE(store.write(path("/local/domain/1/dev/vif"), "x"));
  ASSERT_TRUE(store.write(one, no_tx, path("device"), ""));
  EXPECT_EQ(store.next_event(one), (WatchEvent{"dev", "t"}));
  EXPECT_EQ(store.next_event(one), (WatchEvent{"dev/vif", "t"}));
  EXPECT_EQ(store.next_event(one), std::nullopt);
}

TEST_F(StoreTest, an_absolute_watch_hears_absolute_paths) {
  ASSERT_TRUE(store.watch(one, "/local/domain/1/dev", "t"));
  EXPECT_EQ(store.next_event(one), (WatchEvent{"/local/domain/1/dev", "t"}));
  ASSERT_TRUE(store.write(one, no_tx, path("dev/a"), ""));
  EXPECT_EQ(store.next_event(one), (WatchEvent{"/local/domain/1/dev/a", "t"}));
}

TEST_F(StoreTest, watches_fire_at_the_commit_and_not_before) {
  ASSERT_TRUE(store.watch(one, "a", "t"));
  (void)store.next_event(one);
  const auto tx = *store.start_transaction(one);
  ASSERT_TRUE(store.write(one, tx, path("a"), "v"));
  EXPECT_EQ(store.next_event(one), std::nullopt);
  ASSERT_TRUE(store.end_transaction(one, tx, true));
  EXPECT_EQ(store.next_event(one), (WatchEvent{"a", "t"}));
}

TEST_F(StoreTest, removing_a_parent_fires_the_watch_on_its_child) {
  ASSERT_TRUE(store.write(one, no_tx, path("a/b/c"), "v"));
  ASSERT_TRUE(store.watch(one, "a/b/c", "t"));
  (void)store.next_event(one);
  ASSERT_TRUE(store.remove(one, no_tx, path("a")));
  EXPECT_EQ(store.next_event(one), (WatchEvent{"a/b/c", "t"}));
}

TEST_F(StoreTest, nobody_hears_of_nodes_that_it_may_not_read) {
  ASSERT_TRUE(store.watch(two, "/local/domain/1", "spy"));
  ASSERT_TRUE(store.watch(two, "/", "spy"));
  while (store.next_event(two)) {
  }
  ASSERT_TRUE(store.write(one, no_tx, path("a"), "v"));
  ASSERT_TRUE(store.remove(one, no_tx, path("a")));
  EXPECT_EQ(store.next_event(two), std::nullopt);
}

TEST_F(StoreTest, watches_are_bounded_unique_and_removable) {
  ASSERT_TRUE(store.watch(one, "a", "1"));
  EXPECT_EQ(store.watch(one, "a", "1").error(), Errno::eexist);
  ASSERT_TRUE(store.watch(one, "a", "2"));
  ASSERT_TRUE(store.watch(one, "@releaseDomain", "3"));
  ASSERT_TRUE(store.watch(one, "b", "4"));
  EXPECT_EQ(store.watch(one, "c", "5").error(), Errno::e2big);
  EXPECT_EQ(store.watch(one, "c//", "5").error(), Errno::einval);
  EXPECT_EQ(store.unwatch(one, "c", "5").error(), Errno::enoent);
  ASSERT_TRUE(store.unwatch(one, "a", "2"));
  EXPECT_TRUE(store.watch(one, "c", "5"));
  store.reset(one);
  EXPECT_EQ(store.next_event(one), std::nullopt);
}

TEST_F(StoreTest, waiting_events_are_bounded_and_equal_ones_are_one) {
  ASSERT_TRUE(store.watch(one, "a", "t"));
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(store.write(one, no_tx, path("a"), std::to_string(i)));
  int events = 0;
  while (store.next_event(one)) ++events;
  EXPECT_EQ(events, 1);
  for (int i = 0; i < 17; ++i) ASSERT_TRUE(store.write(one, no_tx, path("a/" + std::to_string(i)), ""));
  while (store.next_event(one)) ++events;
  EXPECT_EQ(events, 1 + 8);
}

// Random operations in two interleaved transactions: whatever commits must equal running it alone at its
// commit.
TEST_F(StoreTest, committed_counters_never_lose_an_increment) {
  ASSERT_TRUE(store.write(one, no_tx, path("n"), "0"));
  const ClientId other = store.add_client(DomId(1), {});
  const auto worker = [&](ClientId id, int times) {
    for (int done = 0; done < times;) {
      const auto tx = *store.start_transaction(id);
      const int value = std::stoi(*store.read(id, tx, path("n")));
      ASSERT_TRUE(store.write(id, tx, path("n"), std::to_string(value + 1)));
      if (store.end_transaction(id, tx, true)) ++done;
    }
  };
  std::thread thread(worker, other, 500);
  worker(one, 500);
  thread.join();
  EXPECT_EQ(*store.read(one, no_tx, path("n")), "1000");
}

// ---- the ring ----

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
    xsd_sockmsg header{};
    EXPECT_GE(received.size(), sizeof(header));
    if (received.size() < sizeof(header)) return {};
    std::memcpy(&header, received.data(), sizeof(header));
    Message message{header.type, header.req_id, TransactionId(header.tx_id),
                    received.substr(sizeof(header), header.len)};
    received.erase(0, sizeof(header) + header.len);
    return message;
  }
  Message ask(std::uint32_t type, const std::string& payload, TransactionId tx = no_tx) {
    send(Message{type, ++last_request, tx, payload}.wire());
    auto reply = next();
    EXPECT_EQ(reply.request, last_request);
    EXPECT_EQ(reply.transaction, tx);
    EXPECT_TRUE(reply.type == type || reply.type == XS_ERROR);
    return reply;
  }

  FakePage ring;
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
  FakePage other_ring;
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
