#include "devices/xenstore/node_watcher.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "xenstore_fixtures.hpp"

namespace pinfold::devices::xenstore {
namespace {

constexpr std::chrono::seconds long_enough{20};

/// Counts calls, and can make them wait.
class Calls {
 public:
  void operator()() {
    std::unique_lock lock(mutex_);
    ++count_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !blocked_; });
  }
  /// False: there were not so many in time.
  [[nodiscard]] bool reach(int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, long_enough, [&] { return count_ >= count; });
  }
  void block(bool blocked) {
    const std::lock_guard lock(mutex_);
    blocked_ = blocked;
    changed_.notify_all();
  }
  [[nodiscard]] int count() {
    const std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
  bool blocked_ = false;
};

class NodeWatcherTest : public testing::Test {
 protected:
  NodeWatcherTest() { EXPECT_TRUE(store->write(path("/local/domain/1"), "", Permissions(DomId(1)))); }
  std::shared_ptr<Store> store = std::make_shared<Store>(Quotas{.events = 4});
  ClientId guest = store->add_client(DomId(1), {});
  NodeWatcher watcher{store};
};

TEST_F(NodeWatcherTest, calls_at_once_and_after_each_change_below_the_node) {
  Calls calls;
  const auto watch = watcher.watch(path("device/vbd"), [&] { calls(); });
  ASSERT_TRUE(calls.reach(1));
  ASSERT_TRUE(store->write(guest, no_tx, path("device/vbd/51712/state"), "3"));
  store->deliver();
  ASSERT_TRUE(calls.reach(2));
  ASSERT_TRUE(store->write(path("device/vbd/51712/state"), "4"));
  ASSERT_TRUE(calls.reach(3));
}

TEST_F(NodeWatcherTest, sees_nodes_that_only_the_guest_may_read) {
  ASSERT_TRUE(store->write(guest, no_tx, path("secret"), "v"));
  ASSERT_TRUE(store->set_permissions(guest, no_tx, path("secret"), *Permissions::parse({"n1"})));
  Calls calls;
  const auto watch = watcher.watch(path("secret"), [&] { calls(); });
  ASSERT_TRUE(calls.reach(1));
  ASSERT_TRUE(store->write(guest, no_tx, path("secret"), "w"));
  store->deliver();
  EXPECT_TRUE(calls.reach(2));
}

TEST_F(NodeWatcherTest, many_changes_queue_one_call_for_each_watch_and_no_watch_loses_its_last) {
  Calls flooded, quiet;
  const auto one = watcher.watch(path("flood"), [&] { flooded(); });
  const auto two = watcher.watch(path("quiet"), [&] { quiet(); });
  ASSERT_TRUE(flooded.reach(1) && quiet.reach(1));
  flooded.block(true);
  for (int i = 0; i < 200; ++i)
    ASSERT_TRUE(store->write(guest, no_tx, path("flood/" + std::to_string(i)), ""));
  store->deliver();
  ASSERT_TRUE(flooded.reach(2));
  for (int i = 0; i < 200; ++i)
    ASSERT_TRUE(store->write(guest, no_tx, path("flood/" + std::to_string(i)), "again"));
  ASSERT_TRUE(store->write(guest, no_tx, path("quiet"), "v"));
  store->deliver();
  flooded.block(false);
  ASSERT_TRUE(quiet.reach(2));
  ASSERT_TRUE(flooded.reach(3));
  EXPECT_EQ(flooded.count(), 3);
}

TEST_F(NodeWatcherTest, callbacks_run_without_a_lock_and_may_change_the_store_and_watches) {
  Calls answered;
  std::unique_ptr<NodeWatcher::Watch> second;
  const auto watch = watcher.watch(path("state"), [&] {
    if (store->read(path("state")).value_or("") != "1") return;
    ASSERT_TRUE(store->write(path("state"), "2"));
    second = watcher.watch(path("answer"), [&] {
      second.reset();
      answered();
    });
  });
  ASSERT_TRUE(store->write(guest, no_tx, path("state"), "1"));
  store->deliver();
  ASSERT_TRUE(answered.reach(1));
  EXPECT_EQ(*store->read(path("state")), "2");
}

TEST_F(NodeWatcherTest, a_watch_that_ends_waits_for_its_callback_and_is_not_called_again) {
  Calls calls;
  auto watch = watcher.watch(path("a"), [&] { calls(); });
  ASSERT_TRUE(calls.reach(1));
  calls.block(true);
  ASSERT_TRUE(store->write(path("a"), "v"));
  ASSERT_TRUE(calls.reach(2));
  ASSERT_TRUE(store->write(path("a"), "w"));  // a call that waits, too
  std::atomic<bool> ended = false;
  std::thread ender([&] {
    watch.reset();
    ended = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(ended);
  calls.block(false);
  ender.join();
  Calls later;
  const auto other = watcher.watch(path("b"), [&] { later(); });
  ASSERT_TRUE(later.reach(1));
  EXPECT_EQ(calls.count(), 2);
}

}  // namespace
}  // namespace pinfold::devices::xenstore
