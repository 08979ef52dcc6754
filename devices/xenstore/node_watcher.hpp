// How the monitor itself learns that nodes of the store have changed.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "devices/xenstore/store.hpp"

namespace pinfold::devices::xenstore {

/// Watches nodes for the monitor's devices, with domain 0's rights. Its callbacks run one at a time, on a
/// thread of its own, with no lock of the store, of a domain or of this object held: they may wait, read and
/// write the store, and add and end watches.
///
/// A callback says that something at or below its node changed since it was called last, or that it has not
/// been called yet; not what or how often. So what a guest writes queues one call a watch, however much it
/// is, and nothing is lost. Any thread may call anything.
class NodeWatcher {
 public:
  using Callback = std::function<void()>;
  class Watch;

  explicit NodeWatcher(std::shared_ptr<Store> store);
  /// All its watches have ended.
  ~NodeWatcher();
  NodeWatcher(const NodeWatcher&) = delete;
  NodeWatcher& operator=(const NodeWatcher&) = delete;

  /// Calls back soon, for what is there already, and after each change. The node need not exist.
  [[nodiscard]] std::unique_ptr<Watch> watch(const Path& path, Callback changed);

 private:
  /// The store's end of this: it may be called while a vCPU's thread holds its domain's lock.
  struct Inbox;
  void loop();
  void call(const std::string& token);
  void end(const std::string& path, const std::string& token);

  std::shared_ptr<Store> store_;
  std::shared_ptr<Inbox> inbox_;
  ClientId client_;

  std::mutex mutex_;
  std::condition_variable done_;
  std::map<std::string, std::shared_ptr<Callback>> callbacks_;  ///< By token.
  std::uint64_t last_token_ = 0;
  std::string running_;  ///< The token of the callback that runs; empty: none does.
  std::thread thread_;
};

/// A watch, for as long as this lives. Its end waits for its callback, if that runs on another thread: the
/// owner holds no lock that the callback takes.
class NodeWatcher::Watch {
 public:
  ~Watch() { watcher_.end(path_, token_); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  friend class NodeWatcher;
  Watch(NodeWatcher& watcher, std::string path, std::string token)
      : watcher_(watcher), path_(std::move(path)), token_(std::move(token)) {}
  NodeWatcher& watcher_;
  std::string path_, token_;
};

}  // namespace pinfold::devices::xenstore
