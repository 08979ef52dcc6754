// The watchdog timers of a domain (SCHEDOP_watchdog, xen/sched.h): when one expires, the guest is ended.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "pvmmu/errno.hpp"

namespace pinfold::vmm {

/// Two timers, as on Xen, and a thread that waits for them. They measure the host's time,
/// also while no vCPU runs.
///
/// Concurrency: any thread may call any function.
class Watchdog {
 public:
  static constexpr std::size_t timers = 2;

  /// `on_expiry` is called once, in the watchdog's own thread.
  explicit Watchdog(std::function<void()> on_expiry) : on_expiry_(std::move(on_expiry)) {}
  ~Watchdog() { stop(); }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// Starts the thread; false if the host refuses. Without it no timer expires. Call it before the guest
  /// runs: the guest must not choose the moment at which this can fail.
  [[nodiscard]] bool start();
  /// `id` 0: takes and sets a timer, and returns its number, 1 or 2. EINVAL if `seconds` is 0,
  /// ENOSPC if both are taken. Other ids: sets that timer again, or gives it back if `seconds` is 0.
  /// EINVAL if it is not taken.
  [[nodiscard]] tl::expected<std::uint32_t, Errno> request(std::uint32_t id, std::uint32_t seconds);
  /// From now on no timer expires.
  void stop();

 private:
  using Clock = std::chrono::steady_clock;
  struct Timer {
    bool taken = false;
    Clock::time_point expires;
  };
  void watch();

  std::function<void()> on_expiry_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::array<Timer, timers> timers_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace pinfold::vmm
