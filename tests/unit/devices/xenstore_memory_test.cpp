// What the store holds for a domain has a bound, whatever the domain makes it keep, and is given back.
#include "devices/xenstore/memory_quota.hpp"

#include <chrono>
#include <limits>
#include <string>

#include "xenstore_fixtures.hpp"

namespace pinfold::devices::xenstore {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t hard = 64 << 10;
/// How far beyond the limit one operation may take the store: what it copies of the nodes on its way.
constexpr std::uint64_t one_operation = 16 << 10;

class StoreMemory : public testing::Test {
 protected:
  StoreMemory() {
    EXPECT_TRUE(store.write(path("/local/domain/1"), "", Permissions(DomId(1))));
    EXPECT_TRUE(store.write(path("/local/domain/2"), "", *Permissions::parse({"n2", "b1"})));
    at_first = store.held_for(one);
  }
  /// Writes nodes until one is refused; its error.
  Errno fill(TransactionId tx, const std::string& directory) {
    for (int i = 0; i < 10'000; ++i) {
      const auto done = store.write(one, tx, path(directory + "/" + std::to_string(i)), value);
      if (!done) return done.error();
    }
    return Errno::einval;
  }
  void take_events() {
    while (store.next_event(one)) {
    }
  }

  std::chrono::steady_clock::time_point now{};
  Quotas quotas{.value_bytes = 4096, .transaction_nodes = 1000, .memory_soft = hard / 2, .memory_hard = hard};
  Store store{quotas, Quotas::of_the_host(), [this] { return now; }};
  ClientId one = store.add_client(DomId(1), {});
  ClientId two = store.add_client(DomId(2), {});
  std::uint64_t at_first = 0;
  const std::string value = std::string(2000, 'v');
};

TEST_F(StoreMemory, nodes_take_memory_until_there_is_no_more_and_give_it_back) {
  EXPECT_EQ(fill(no_tx, "d"), Errno::enomem);
  EXPECT_LT(store.held_for(one), hard);
  EXPECT_GT(store.held_for(one), hard - 3000);
  for (int i = 0; store.mkdir(one, no_tx, path("d/0/" + std::to_string(i))); ++i) {
  }
  ASSERT_TRUE(store.write(one, no_tx, path("d/1"), std::string(1000, 'v')));
  const std::uint64_t left = hard - store.held_for(one);
  EXPECT_EQ(store.write(one, no_tx, path("d/1"), std::string(1000 + left, 'v')).error(), Errno::enomem);
  EXPECT_TRUE(store.write(one, no_tx, path("d/1"), std::string(1000 + left - 1, 'v')));
  EXPECT_EQ(store.held_for(one), hard - 1);
  EXPECT_TRUE(store.check());
  EXPECT_TRUE(store.write(one, no_tx, path("d/0"), "less"));
  EXPECT_TRUE(store.remove(one, no_tx, path("d")));
  EXPECT_EQ(store.held_for(one), at_first);
}

TEST_F(StoreMemory, long_names_and_permissions_count) {
  std::string deep = "x";
  for (int i = 0; i < 200; ++i) deep += "/x";
  EXPECT_TRUE(store.mkdir(one, no_tx, path(deep)));
  EXPECT_EQ(store.mkdir(one, no_tx, path("y" + deep)).error(), Errno::enomem);
  EXPECT_TRUE(store.remove(one, no_tx, path("x")));
  EXPECT_TRUE(store.mkdir(one, no_tx, path(std::string(1500, 'n'))));
  const std::uint64_t named = store.held_for(one);
  EXPECT_GT(named, at_first + 1500);
  EXPECT_TRUE(store.set_permissions(one, no_tx, path(std::string(1500, 'n')),
                                    *Permissions::parse({"n1", "r2", "r3"})));
  EXPECT_EQ(store.held_for(one), named + 2 * sizeof(Permission));
}

TEST_F(StoreMemory, a_nodes_memory_is_its_owners) {
  ASSERT_TRUE(store.write(two, no_tx, path("/local/domain/2/a"), "v"));
  ASSERT_TRUE(
      store.set_permissions(two, no_tx, path("/local/domain/2/a"), *Permissions::parse({"n2", "b1"})));
  const std::uint64_t before = store.held_for(two);
  EXPECT_TRUE(store.write(one, no_tx, path("/local/domain/2/a"), value));
  EXPECT_EQ(store.held_for(one), at_first);
  EXPECT_EQ(store.held_for(two), before + value.size() - 1);

  // The monitor may write a domain's nodes when the domain itself may not.
  EXPECT_EQ(fill(no_tx, "d"), Errno::enomem);
  EXPECT_TRUE(store.write(path("d/0"), value + value));
}

TEST_F(StoreMemory, watches_and_their_events_take_memory_and_give_it_back) {
  const std::string token(1000, 't');
  Status done;
  int watches = 0;
  for (; done; ++watches) done = store.watch(one, "w" + std::to_string(watches), token);
  EXPECT_EQ(done.error(), Errno::enomem);
  EXPECT_LE(store.held_for(one), hard);
  take_events();
  for (int i = 0; i < watches - 1; ++i) EXPECT_TRUE(store.unwatch(one, "w" + std::to_string(i), token));
  EXPECT_EQ(store.held_for(one), at_first);

  ASSERT_TRUE(store.watch(one, "w", token));
  store.reset(one);
  EXPECT_EQ(store.held_for(one), at_first);
}

TEST_F(StoreMemory, events_that_have_no_room_are_dropped) {
  ASSERT_TRUE(store.watch(two, "/local/domain/2", std::string(1000, 't')));
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(store.write(path("/local/domain/2/n"), "", Permissions(DomId(0))));
    ASSERT_TRUE(store.write(path("/local/domain/2/n/" + std::to_string(i)), "", *Permissions::parse({"r0"})));
    ASSERT_LE(store.held_for(two), hard);
  }
  EXPECT_TRUE(store.lost_events(two));
  int told = 0;
  while (store.next_event(two)) ++told;
  EXPECT_GT(told, 10);
  EXPECT_LT(told, 200);
}

TEST_F(StoreMemory, events_wait_for_twenty_seconds) {
  ASSERT_TRUE(store.watch(one, "a", "t"));
  ASSERT_TRUE(store.watch(one, "b", "t"));
  take_events();
  const std::uint64_t quiet = store.held_for(one);
  ASSERT_TRUE(store.write(path("/local/domain/1/a"), "v", Permissions(DomId(1))));
  const std::uint64_t with_a = store.held_for(one);
  now += 19s;
  ASSERT_TRUE(store.write(path("/local/domain/1/b"), "v", Permissions(DomId(1))));
  now += 1s;
  EXPECT_EQ(store.next_event(one), (WatchEvent{"b", "t"}));
  EXPECT_EQ(store.next_event(one), std::nullopt);
  ASSERT_TRUE(store.write(path("/local/domain/1/a"), "v"));
  EXPECT_EQ(store.next_event(one), (WatchEvent{"a", "t"})) << "a later one is told";
  EXPECT_GT(with_a, quiet);
}

TEST_F(StoreMemory, the_hosts_events_wait_for_ever) {
  const ClientId host = store.add_client(DomId(0), {});
  ASSERT_TRUE(store.watch(host, "/a", std::string(2000, 't')));
  now += 24h;
  EXPECT_TRUE(store.next_event(host));
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(store.write(path("/a/" + std::to_string(i)), value));
  EXPECT_FALSE(store.lost_events(host));
}

TEST_F(StoreMemory, transactions_take_memory_and_give_it_back) {
  const TransactionId tx = *store.start_transaction(one);
  EXPECT_EQ(fill(tx, "d"), Errno::enomem);
  EXPECT_LE(store.held_for(one), hard + one_operation);
  EXPECT_TRUE(store.end_transaction(one, tx, false));
  EXPECT_EQ(store.held_for(one), at_first);

  // What it only looks at is remembered too, be it there or not.
  const TransactionId reader = *store.start_transaction(one);
  Errno refused = Errno::enoent;
  for (int i = 0; i < 1000 && refused == Errno::enoent; ++i)
    refused = store.read(one, reader, path(std::string(1000, 'r') + std::to_string(i))).error();
  EXPECT_EQ(refused, Errno::enomem);
  EXPECT_LE(store.held_for(one), hard + one_operation);
  store.reset(one);
  EXPECT_EQ(store.held_for(one), at_first);
}

TEST_F(StoreMemory, a_value_written_again_and_again_in_a_transaction_is_remembered_each_time) {
  const TransactionId tx = *store.start_transaction(one);
  Status done;
  for (int i = 0; done && i < 500; ++i) done = store.write(one, tx, path("same"), value);
  EXPECT_EQ(done.error(), Errno::enomem);
}

TEST_F(StoreMemory, what_snapshots_keep_counts_until_they_end) {
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(store.write(one, no_tx, path("d/" + std::to_string(i)), value));
  const std::uint64_t once = store.held_for(one);
  const TransactionId first = *store.start_transaction(one);
  ASSERT_TRUE(store.remove(one, no_tx, path("d")));
  EXPECT_GE(store.held_for(one), once) << "the snapshot has the nodes";

  // Each snapshot would keep nodes of its own.
  Status done;
  for (int round = 0; done && round < 9; ++round) {
    for (int i = 0; done && i < 10; ++i)
      done = store.write(one, no_tx, path("d/" + std::to_string(i)), value);
    if (done && !store.start_transaction(one)) break;
    if (done) done = store.remove(one, no_tx, path("d"));
  }
  EXPECT_EQ(done.error(), Errno::enomem);
  EXPECT_LE(store.held_for(one), hard + one_operation);
  EXPECT_TRUE(store.end_transaction(one, first, false));
  EXPECT_GE(store.held_for(one), once) << "others are open";
  store.reset(one);
  (void)store.remove(one, no_tx, path("d"));
  EXPECT_EQ(store.held_for(one), at_first);
}

TEST_F(StoreMemory, values_of_the_same_length_are_kept_by_snapshots_too) {
  int nodes = 0;
  while (store.held_for(one) < hard / 2)
    ASSERT_TRUE(store.write(one, no_tx, path("d/" + std::to_string(nodes++)), value));
  std::uint64_t most = 0;
  for (int snapshot = 0; snapshot < 10; ++snapshot) {
    if (!store.start_transaction(one)) break;
    for (int i = 0; i < nodes; ++i) (void)store.write(one, no_tx, path("d/" + std::to_string(i)), value);
    most = std::max(most, store.held_for(one));
  }
  EXPECT_LE(most, hard + one_operation);
}

TEST_F(StoreMemory, a_commit_that_has_no_room_changes_nothing) {
  const TransactionId tx = *store.start_transaction(one);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(store.write(one, tx, path("t/" + std::to_string(i)), value));
  // Somebody else takes what the transaction would need.
  ASSERT_TRUE(store.write(path("/other"), std::string(hard - 4000, 'v'), Permissions(DomId(1))));
  EXPECT_EQ(store.end_transaction(one, tx, true).error(), Errno::enomem);
  EXPECT_EQ(store.read(one, no_tx, path("t")).error(), Errno::enoent);
  EXPECT_TRUE(store.check());
}

TEST(MemoryQuota, has_room_up_to_its_hard_limit) {
  const Quotas quotas{.memory_soft = 10'000, .memory_hard = 20'000};
  const MemoryQuota quota(DomId(1), quotas);
  EXPECT_EQ(quota.room(0), 20'000U);
  EXPECT_EQ(quota.room(19'999), 1U);
  EXPECT_EQ(quota.room(30'000), 0U);
  const Quotas host = Quotas::of_the_host();
  EXPECT_EQ(MemoryQuota(DomId(0), host).room(1 << 30), std::numeric_limits<std::uint64_t>::max());
}

TEST(MemoryQuota, tells_the_log_of_each_level_but_once_a_minute) {
  const Quotas quotas{.memory_soft = 10'000, .memory_hard = 20'000};
  MemoryQuota quota(DomId(1), quotas);
  const MemoryQuota::Time start{};
  EXPECT_FALSE(quota.report(9'999, start));
  EXPECT_TRUE(quota.report(10'000, start));
  EXPECT_FALSE(quota.report(10'001, start));
  EXPECT_FALSE(quota.report(20'000, start + 59s));
  EXPECT_TRUE(quota.report(20'000, start + 60s));
  EXPECT_FALSE(quota.report(0, start + 60s));
  EXPECT_TRUE(quota.report(0, start + 120s));
}

}  // namespace
}  // namespace pinfold::devices::xenstore
