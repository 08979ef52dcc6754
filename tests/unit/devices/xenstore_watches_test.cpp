// Watches: what they hear, who may have them, and how many.
#include "xenstore_fixtures.hpp"

namespace pinfold::devices::xenstore {
namespace {

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

}  // namespace
}  // namespace pinfold::devices::xenstore
