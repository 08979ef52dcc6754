// The two timers that each vCPU has: one shot, and a periodic tick (xen/vcpu.h).
#pragma once

#include <atomic>
#include <cstdint>

#include "vmm/cpu/host_timer.hpp"

namespace pinfold::vmm {

/// When VIRQ_TIMER is due on one vCPU. Offers the two timers; needs an alarm that interrupts the vCPU's
/// thread while it is in the guest. Times are the domain's system time in ns, and the caller says what time
/// it is.
///
/// The alarm is set to the earlier deadline after every change. The alarm's clock may run a little faster
/// than system time: check() sets an alarm that went off too early once more.
///
/// Concurrency: note_alarm() from a signal handler; all else under the domain's lock.
class VcpuTimers {
 public:
  explicit VcpuTimers(Alarm& alarm) : alarm_(alarm) {}

  /// VIRQ_TIMER once, at `deadline`; 0 disarms.
  void set_one_shot(std::uint64_t deadline, std::uint64_t now);
  /// VIRQ_TIMER each time so much has passed while the vCPU runs, from its last tick on; 0: never. As on Xen
  /// it does not wake a vCPU that sleeps, which gets a tick that is due when it runs again.
  void set_period(std::uint64_t period, std::uint64_t now);
  /// The vCPU does not run from here on: its tick stands still.
  void pause_tick(std::uint64_t now);
  /// It runs again. True: a tick is due, so check() has to be called.
  [[nodiscard]] bool resume_tick(std::uint64_t now);

  /// While the vCPU runs, its alarm goes off by then at the latest, though no timer may be due. Set it anew
  /// before the check() that follows.
  void set_refresh(std::uint64_t deadline, std::uint64_t now);

  /// The earlier of the two; 0: neither is armed.
  [[nodiscard]] std::uint64_t next_deadline() const;
  /// True: VIRQ_TIMER is due. Ticks that were missed are not made up.
  [[nodiscard]] bool check(std::uint64_t now);
  /// Sets the alarm to the next deadline: once after the alarm has come into being.
  void arm(std::uint64_t now);
  /// The alarm went off.
  void note_alarm() { alarm_went_off_ = true; }

 private:
  [[nodiscard]] bool ticks() const { return period_ != 0 && !tick_paused_; }

  Alarm& alarm_;
  std::atomic<bool> alarm_went_off_{false};
  std::uint64_t one_shot_ = 0;  ///< 0: not armed.
  /// Guests that know nothing better have a tick of 100 Hz (xen/vcpu.h: every vCPU has one periodic timer).
  std::uint64_t period_ = 10'000'000;
  std::uint64_t last_tick_ = 0;
  bool tick_paused_ = false;
  std::uint64_t refresh_ = 0;           ///< 0: none.
  bool armed_without_refresh_ = false;  ///< Since the vCPU stopped running.
};

}  // namespace pinfold::vmm
