// The watchdog timers of a domain (SCHEDOP_watchdog, xen/sched.h): a guest that stops poking one is ended.
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

/// Two timers, as on Xen, and a thread that waits for them. Real time of the host: a vCPU
/// that does not get to run does not stop it. Any thread may call anything.
class Watchdog {
 public:
  static constexpr std::size_t timers = 2;

  /// `on_expiry` is called in the watchdog's own thread, once.
  explicit Watchdog(std::function<void()> on_expiry) : on_expiry_(std::move(on_expiry)) {}
  ~Watchdog() { stop(); }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// Starts the thread; false if the host has none to give. Before that no timer expires. Early, not when the
  /// guest first asks: a failure then would be one that a guest can time.
  [[nodiscard]] bool start();
  /// `id` 0: takes a timer and sets it, EINVAL without a time, ENOSPC when both are taken; its number, from 1
  /// on. Else sets that timer again, or gives it back when `seconds` is 0; EINVAL for one that is not taken.
  [[nodiscard]] tl::expected<std::uint32_t, Errno> request(std::uint32_t id, std::uint32_t seconds);
  /// No timer expires any more.
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
