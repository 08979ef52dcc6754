// Transactions: what others see of them, and what makes them fail.
#include <thread>

#include "devices/xenstore/numbers.hpp"
#include "xenstore_fixtures.hpp"

namespace pinfold::devices::xenstore {
namespace {

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

// Random operations in two interleaved transactions: whatever commits must equal running it alone at its
// commit.
TEST(StoreNumbers, come_round_and_are_nobody_elses) {
  Store store({}, Quotas::of_the_host(), std::chrono::steady_clock::now, {~0U - 2, ~0U - 1});
  ASSERT_TRUE(store.write(path("/secret"), "s"));
  const ClientId host = store.add_client(DomId(0), {}), last = store.add_client(DomId(1), {});
  const auto tx = store.start_transaction(last);
  ASSERT_TRUE(tx);
  EXPECT_EQ(tx->raw(), ~0U);
  EXPECT_EQ(store.start_transaction(last)->raw(), 1U) << "0 is no transaction";
  std::vector<ClientId> later;
  for (int i = 0; i < 3; ++i) later.push_back(store.add_client(DomId(1), {}));
  for (const ClientId id : later) {
    EXPECT_TRUE(id != host && id != last);
    EXPECT_EQ(store.read(id, TransactionId(0), path("/secret")).error(), Errno::eacces);
  }
  EXPECT_TRUE(store.read(host, TransactionId(0), path("/secret")));
}

TEST(StoreNumbers, that_are_in_use_are_skipped) {
  const auto taken = [](std::uint32_t number) { return number <= 2 || number == ~0U || number == 7; };
  EXPECT_EQ(next_number(5, taken), 6U);
  EXPECT_EQ(next_number(6, taken), 8U);
  EXPECT_EQ(next_number(~0U - 1, taken), 3U);
}

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

}  // namespace
}  // namespace pinfold::devices::xenstore
