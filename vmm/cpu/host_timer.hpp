// A timer of the host's that interrupts one thread.
#pragma once

#include <cstdint>
#include <ctime>

namespace pinfold::vmm {

/// Something that goes off once, after a time.
class Alarm {
 public:
  virtual ~Alarm() = default;
  /// Goes off in so many ns of the host's time, and not when it was to go off before; 0: not at all.
  virtual void set(std::uint64_t in_ns) = 0;
};

/// A POSIX timer on CLOCK_MONOTONIC that sends SIGUSR1 to the thread that called create().
///
/// Concurrency: create() and destroy() in the vCPU's thread; these and set() under the domain's lock, except
/// that destroy() may follow when nobody calls set() any more. Before create(), and after destroy(), set()
/// does nothing.
class HostTimer final : public Alarm {
 public:
  HostTimer() = default;
  HostTimer(const HostTimer&) = delete;
  HostTimer& operator=(const HostTimer&) = delete;
  ~HostTimer() override { destroy(); }

  /// False: the host has no timer left.
  [[nodiscard]] bool create();
  void destroy();
  void set(std::uint64_t in_ns) override;

 private:
  timer_t timer_{};
  bool exists_ = false;
};

}  // namespace pinfold::vmm
