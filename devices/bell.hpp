// What wakes a thread, at most once until the thread has looked.
#pragma once

#include <atomic>
#include <utility>

#include "devices/wake_fd.hpp"

namespace pinfold::devices {

/// Concurrency: any thread rings; the one that is woken silences.
class Bell {
 public:
  explicit Bell(WakeFd fd) : fd_(std::move(fd)) {}
  void ring() {
    if (!rung_.exchange(true)) fd_.raise();
  }
  void silence() {
    fd_.clear();
    rung_ = false;
  }
  /// poll(2) finds it readable once it was rung.
  [[nodiscard]] int descriptor() const { return fd_.get(); }

 private:
  WakeFd fd_;
  std::atomic<bool> rung_ = false;
};

}  // namespace pinfold::devices
