// What a guest's requests cost the store, counted in steps: nodes looked at, changed or copied, and watches
// compared. No request costs more than what it names, and a ring of them is served in pieces.
#include <gtest/gtest.h>

#include <string>

#include "devices/event_channels.hpp"
#include "devices/xenstore/connection.hpp"
#include "event_guest.hpp"
#include "fakes.hpp"
#include "xenstore_fixtures.hpp"

namespace pinfold::devices::xenstore {
namespace {

using namespace std::string_literals;

constexpr int wide = 900;  ///< Nodes of a directory: nearly all that a domain may have.

std::string number(int i) { return std::to_string(i); }

class StoreWork : public testing::Test {
 protected:
  StoreWork() {
    EXPECT_TRUE(store->write(path("/local/domain/1"), "", Permissions(DomId(1))));
    for (int i = 0; i < wide; ++i) EXPECT_TRUE(store->write(one, no_tx, path("d/" + number(i)), "old"));
  }
  /// What `work` costs.
  template <class Work>
  std::uint64_t steps_of(Work&& work) {
    const std::uint64_t before = store->steps();
    work();
    return store->steps() - before;
  }
  /// A transaction that changes `count` nodes of the wide directory.
  TransactionId changes(int count) {
    const TransactionId tx = store->start_transaction(one).value();
    for (int i = 0; i < count; ++i) EXPECT_TRUE(store->write(one, tx, path("d/" + number(i)), "new"));
    return tx;
  }

  std::shared_ptr<Store> store = std::make_shared<Store>();
  ClientId one = store->add_client(DomId(1), {});
};

TEST_F(StoreWork, a_change_in_a_wide_directory_costs_its_depth) {
  EXPECT_LE(steps_of([&] { EXPECT_TRUE(store->write(one, no_tx, path("d/7"), "new")); }), 30U);
  EXPECT_LE(steps_of([&] { EXPECT_TRUE(store->write(one, no_tx, path("d/new"), "new")); }), 30U);
  EXPECT_LE(steps_of([&] { EXPECT_TRUE(store->remove(one, no_tx, path("d/new"))); }), 30U);
}

TEST_F(StoreWork, beginning_a_transaction_costs_nothing_and_ending_it_copies_a_directory_once) {
  TransactionId tx = no_tx;
  EXPECT_EQ(steps_of([&] { tx = store->start_transaction(one).value(); }), 0U);
  EXPECT_EQ(steps_of([&] { EXPECT_TRUE(store->end_transaction(one, tx, false)); }), 0U);

  // Others change something meanwhile, so the transaction's tree is not simply the new one.
  const std::uint64_t few = steps_of([&] {
    tx = changes(10);
    EXPECT_TRUE(store->write(one, no_tx, path("d/899"), "other"));
    EXPECT_TRUE(store->end_transaction(one, tx, true));
  });
  const std::uint64_t many = steps_of([&] {
    tx = changes(400);
    EXPECT_TRUE(store->write(one, no_tx, path("d/899"), "other"));
    EXPECT_TRUE(store->end_transaction(one, tx, true));
  });
  EXPECT_EQ(*store->read(one, no_tx, path("d/399")), "new");
  EXPECT_EQ(*store->read(one, no_tx, path("d/899")), "other");
  EXPECT_EQ(*store->read(one, no_tx, path("d/400")), "old");
  EXPECT_LE(many - few, 390U * 60) << "for each change its depth, a few times";
}

TEST_F(StoreWork, an_open_transaction_sees_nothing_of_what_changes_in_place) {
  const TransactionId tx = store->start_transaction(one).value();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(store->write(one, no_tx, path("d/" + number(i)), "outside"));
  ASSERT_TRUE(store->remove(one, no_tx, path("d/20")));
  const TransactionId late = store->start_transaction(one).value();
  ASSERT_TRUE(store->write(one, no_tx, path("d/21"), "later"));
  EXPECT_EQ(*store->read(one, tx, path("d/7")), "old");
  EXPECT_EQ(*store->read(one, tx, path("d/20")), "old");
  EXPECT_EQ(*store->read(one, late, path("d/7")), "outside");
  EXPECT_EQ(store->read(one, late, path("d/20")).error(), Errno::enoent);
  EXPECT_EQ(*store->read(one, late, path("d/21")), "old");
  EXPECT_EQ(*store->read(one, no_tx, path("d/21")), "later");
}

TEST_F(StoreWork, a_transaction_that_takes_too_long_is_refused_more) {
  const TransactionId tx = store->start_transaction(one).value();
  Status done;
  // Each pair fills the quota of nodes and empties it again.
  std::string deep = "x";
  for (int i = 0; i < 40; ++i) deep += "/x";
  const std::uint64_t before = store->steps();
  int rounds = 0;
  for (; done && rounds < 1000; ++rounds) {
    done = store->write(one, tx, path(deep), "");
    if (done) done = store->remove(one, tx, path("x"));
  }
  EXPECT_EQ(done.error(), Errno::enospc);
  const Quotas quotas;
  EXPECT_LE(store->steps() - before, quotas.transaction_steps + 1000);
  const std::uint64_t commit = steps_of([&] { (void)store->end_transaction(one, tx, true); });
  EXPECT_LE(commit, 3 * quotas.transaction_steps);
}

TEST_F(StoreWork, a_path_of_many_names_costs_its_length) {
  std::string deep = "deep";
  for (int i = 0; i < 90; ++i) deep += "/d";
  EXPECT_LE(steps_of([&] { EXPECT_TRUE(store->write(one, no_tx, path(deep), "")); }), 400U);
  for (int i = 0; i < 800; ++i) deep += "/d";
  EXPECT_LE(steps_of([&] { EXPECT_EQ(store->read(one, no_tx, path(deep)).error(), Errno::enoent); }), 100U);
  EXPECT_LE(steps_of([&] { EXPECT_EQ(store->write(one, no_tx, path(deep), "").error(), Errno::enospc); }),
            200U);
}

TEST_F(StoreWork, a_removal_costs_its_nodes_and_the_watches_but_not_both_multiplied) {
  for (int i = 0; i < 128; ++i) ASSERT_TRUE(store->watch(one, "d/" + number(i * 10), "t"));
  while (store->next_event(one)) {
  }
  const std::uint64_t steps = steps_of([&] { EXPECT_TRUE(store->remove(one, no_tx, path("d"))); });
  EXPECT_LE(steps, wide + 128 + 50U);
  // 90 of the watched nodes were there, and each has one event.
  int told = 0;
  while (const auto event = store->next_event(one)) {
    EXPECT_TRUE(event->path.starts_with("d/"));
    ++told;
  }
  EXPECT_EQ(told, wide / 10);
}

TEST_F(StoreWork, a_removed_nodes_watcher_hears_of_it_if_it_may_read_the_node_or_its_parent) {
  const ClientId two = store->add_client(DomId(2), {});
  const auto readable = [&](const std::string& name) {
    ASSERT_TRUE(store->write(path("open/" + name), "", *Permissions::parse({"n1", "r2"})));
  };
  for (const char* name : {"node/x", "parent/x", "neither/x"}) {
    const Path node = path("open/" + std::string(name));
    ASSERT_TRUE(store->write(node.parent(), "", Permissions(DomId(1))));
    ASSERT_TRUE(store->write(node, "", Permissions(DomId(1))));
    ASSERT_TRUE(store->watch(two, node.text(), name));
  }
  readable("node/x");
  readable("parent");
  while (store->next_event(two)) {
  }
  ASSERT_TRUE(store->remove(one, no_tx, path("open")));
  EXPECT_EQ(store->next_event(two)->token, "node/x");
  EXPECT_EQ(store->next_event(two)->token, "parent/x");
  EXPECT_FALSE(store->next_event(two));
}

TEST_F(StoreWork, of_several_changes_of_a_node_in_a_transaction_a_watch_hears_once) {
  ASSERT_TRUE(store->watch(one, "d", "t"));
  while (store->next_event(one)) {
  }
  const TransactionId tx = store->start_transaction(one).value();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(store->write(one, tx, path("d/5"), number(i)));
  ASSERT_TRUE(store->remove(one, tx, path("d/6")));
  ASSERT_TRUE(store->write(one, tx, path("d/6"), "again"));
  ASSERT_TRUE(store->end_transaction(one, tx, true));
  EXPECT_EQ(store->next_event(one)->path, "d/5");
  EXPECT_EQ(store->next_event(one)->path, "d/6");
  EXPECT_FALSE(store->next_event(one));
}

// ---- a ring full of requests ----

class RingWork : public StoreWork {
 protected:
  static constexpr std::size_t req_prod = 2052, rsp_cons = 2056, rsp_prod = 2060;

  void put(const std::string& bytes) {
    auto page = ring.shared();
    auto prod = page.load<std::uint32_t>(req_prod);
    for (const char c : bytes) page.store(prod++ & 1023, c);
    page.store(req_prod, prod);
  }
  /// Takes what was replied so far; how many messages.
  int take() {
    auto page = ring.shared();
    auto cons = page.load<std::uint32_t>(rsp_cons);
    const auto prod = page.load<std::uint32_t>(rsp_prod);
    std::string bytes;
    while (cons != prod) bytes += page.load<char>(1024 + (cons++ & 1023));
    page.store(rsp_cons, cons);
    int messages = 0;
    while (bytes.size() >= sizeof(xsd_sockmsg)) {
      xsd_sockmsg header{};
      std::memcpy(&header, bytes.data(), sizeof(header));
      EXPECT_EQ(header.req_id, ++last_reply) << "in order, none left out and none twice";
      bytes.erase(0, sizeof(header) + header.len);
      ++messages;
    }
    EXPECT_EQ(bytes.size(), 0U);
    return messages;
  }
  int put_reads() {
    int count = 0;
    for (; count < 40; ++count)
      put(Message{XS_READ, static_cast<std::uint32_t>(count + 1), no_tx, "d/1\0"s}.wire());
    return count;
  }

  FakePage ring;
  std::shared_ptr<Connection> connection = Connection::create(store, DomId(1), ring.shared(), [] {});
  std::uint32_t last_reply = 0;
};

TEST_F(RingWork, requests_are_served_until_enough_was_done_and_the_rest_another_time) {
  const int requests = put_reads();
  int calls = 0, replies = 0;
  for (Served served = Served::some; served == Served::some && calls < 100; ++calls) {
    pvmmu::Budget budget(pvmmu::cost::call * 4);
    served = connection->on_guest_event(&budget);
    const int here = take();
    EXPECT_LE(here, 5);
    replies += here;
  }
  EXPECT_EQ(replies, requests);
  EXPECT_GE(calls, requests / 4 - 1);
}

TEST_F(RingWork, with_nothing_left_to_spend_one_request_is_served) {
  (void)put_reads();
  pvmmu::Budget budget(0);
  EXPECT_EQ(connection->on_guest_event(&budget), Served::some);
  EXPECT_EQ(connection->on_guest_event(&budget), Served::some);
  EXPECT_EQ(take(), 1);
}

TEST_F(RingWork, a_guest_sends_again_until_its_ring_is_empty) {
  Guest g(1);
  const Port port = g.channels.open_monitor_channel(
      [this](vmm::Hypercall& call) { return connection->on_guest_event(call.budget); });
  const int requests = put_reads();
  ASSERT_TRUE(g.memory.store(GuestVaddr(FakeMemory::base), evtchn_send{port.raw()}));
  int calls = 0, replies = 0;
  for (bool again = true; again && calls < 100; ++calls) {
    pvmmu::Budget budget(1000);
    vmm::Hypercall call{VcpuId(0), 32, {EVTCHNOP_send, FakeMemory::base}, g.memory};
    call.budget = &budget;
    EXPECT_EQ(g.channels.event_channel_op(call), 0);
    again = call.completion == vmm::Completion::restart;
    replies += take();
  }
  EXPECT_EQ(replies, requests);
  EXPECT_GT(calls, 2);
}

}  // namespace
}  // namespace pinfold::devices::xenstore
