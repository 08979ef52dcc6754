// Wake-ups that exist before the guest runs, for queues that it gets later.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "devices/wake_fd.hpp"

namespace pinfold::devices {

/// What wakes the reader of a queue, for as long as the queue needs it.
struct LentWake {
  WakeFd wake;
  std::function<void(WakeFd)> give_back = {};  ///< Empty: it ends with the queue.
};

/// A fixed number of them: a sandbox forbids to make one while the guest runs.
///
/// Concurrency: any thread.
class WakeReserve : public std::enable_shared_from_this<WakeReserve> {
 public:
  /// An error is one line.
  [[nodiscard]] static tl::expected<std::shared_ptr<WakeReserve>, std::string> make(std::size_t count) {
    auto reserve = std::make_shared<WakeReserve>();
    for (std::size_t n = 0; n < count; ++n) {
      auto wake = WakeFd::make();
      if (!wake) return tl::unexpected(wake.error());
      reserve->give_back(std::move(*wake));
    }
    return reserve;
  }
  /// nullopt: all are in use.
  [[nodiscard]] std::optional<LentWake> lend() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::nullopt;
    LentWake lent{std::move(idle_.back()),
                  [self = shared_from_this()](WakeFd wake) { self->give_back(std::move(wake)); }};
    idle_.pop_back();
    return lent;
  }

 private:
  void give_back(WakeFd wake) {
    wake.clear();
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(wake));
  }

  std::mutex mutex_;
  std::vector<WakeFd> idle_;  ///< Guarded by the mutex.
};

/// One of the reserve's, or a new one without a reserve. An error is one line.
[[nodiscard]] inline tl::expected<LentWake, std::string> wake_from(WakeReserve* reserve) {
  if (reserve == nullptr) return WakeFd::make().map([](WakeFd made) { return LentWake{std::move(made)}; });
  if (auto lent = reserve->lend()) return std::move(*lent);
  return tl::unexpected(std::string("no wake-up is free"));
}

}  // namespace pinfold::devices
