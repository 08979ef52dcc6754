#include "devices/xenstore/node_watcher.hpp"

#include <utility>

#include "pvmmu/service_thread.hpp"

namespace pinfold::devices::xenstore {

struct NodeWatcher::Inbox final : EventListener {
  void events_ready() override { signal(ready); }
  void signal(bool& flag) {
    const std::lock_guard lock(mutex);
    flag = true;
    changed.notify_one();
  }
  /// Waits for events; false: the thread is to end.
  [[nodiscard]] bool wait() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return ready || closing; });
    ready = false;
    return !closing;
  }

  std::mutex mutex;
  std::condition_variable changed;
  bool ready = false, closing = false;
};

NodeWatcher::NodeWatcher(std::shared_ptr<Store> store)
    : store_(std::move(store)),
      inbox_(std::make_shared<Inbox>()),
      client_(store_->add_client(DomId(0), inbox_, EventStyle::one_for_each_watch)),
      thread_(service_thread(ThreadKind::io, [this] { loop(); })) {}

NodeWatcher::~NodeWatcher() {
  inbox_->signal(inbox_->closing);
  thread_.join();
  store_->remove_client(client_);
}

std::unique_ptr<NodeWatcher::Watch> NodeWatcher::watch(const Path& path, Callback changed) {
  std::string token;
  {
    const std::lock_guard lock(mutex_);
    token = std::to_string(++last_token_);
    callbacks_.emplace(token, std::make_shared<Callback>(std::move(changed)));
  }
  // Valid path, a token of its own, no quota: this can't be refused.
  (void)store_->watch(client_, path.text(), token);
  inbox_->events_ready();
  return std::unique_ptr<Watch>(new Watch(*this, path.text(), std::move(token)));
}

void NodeWatcher::end(const std::string& path, const std::string& token) {
  (void)store_->unwatch(client_, path, token);
  std::unique_lock lock(mutex_);
  callbacks_.erase(token);
  if (std::this_thread::get_id() == thread_.get_id()) return;
  done_.wait(lock, [&] { return running_ != token; });
}

void NodeWatcher::loop() {
  while (inbox_->wait())
    while (const auto event = store_->next_event(client_)) call(event->token);
}

void NodeWatcher::call(const std::string& token) {
  std::shared_ptr<Callback> callback;
  {
    const std::lock_guard lock(mutex_);
    const auto found = callbacks_.find(token);
    if (found == callbacks_.end()) return;
    callback = found->second;
    running_ = token;
  }
  (*callback)();
  const std::lock_guard lock(mutex_);
  running_.clear();
  done_.notify_all();
}

}  // namespace pinfold::devices::xenstore
