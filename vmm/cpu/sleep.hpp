// A vCPU's sleep: blocked, polling, down or stopped, and giving the processor away.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "pvmmu/lock.hpp"
#include "pvmmu/types.hpp"
#include "vmm/cpu/poll.hpp"
#include "vmm/cpu/run_state.hpp"
#include "vmm/cpu/stop_control.hpp"
#include "vmm/cpu/timers.hpp"
#include "vmm/cpu/wakeup.hpp"
#include "vmm/statistics.hpp"

namespace pinfold::vmm {

/// What a vCPU's sleep depends on, and who hears of it. All of it is called with the domain's lock held.
class SleepSurroundings {
 public:
  virtual ~SleepSurroundings() = default;
  [[nodiscard]] virtual bool domain_ended() const = 0;
  /// VCPUOP_up and VCPUOP_down.
  [[nodiscard]] virtual bool is_up() const = 0;
  /// Is an event pending that the guest has not masked?
  [[nodiscard]] virtual bool upcall_due() = 0;
  [[nodiscard]] virtual bool nmi_due() = 0;
  [[nodiscard]] virtual bool port_pending(Port port) = 0;
  /// System time in ns, and the counter that it is made of.
  [[nodiscard]] virtual std::uint64_t now() = 0;
  [[nodiscard]] virtual std::uint64_t ticks() = 0;
  /// Raises what is due of the vCPU's timers. May let go of the lock for a moment.
  virtual void check_timers(pvmmu::DomainLock& lock) = 0;
  /// The vCPU blocks, or runs again: for the guest's copy of its run state.
  virtual void publish_run_state(pvmmu::Held held) = 0;
  /// The vCPU has come to rest.
  virtual void rests() = 0;
};

/// Offers a sleep of each kind; needs the vCPU's wake-up call, timers, run state and stops. A sleep takes the
/// domain's lock and is without it while the thread waits; whatever ends a sleep kicks the vCPU, and is
/// looked at again after each kick.
///
/// Concurrency: is_polling() in any thread; all else in the vCPU's own, with the domain's lock held.
class VcpuSleep {
 public:
  struct Parts {
    Wakeup& wakeup;
    VcpuTimers& timers;
    RunStateClock& run_state;
    StopControl& stops;
    Statistics& statistics;
    std::atomic<std::uint32_t>& pollers;  ///< How many vCPUs of the domain poll.
    SleepSurroundings& surroundings;
  };
  explicit VcpuSleep(const Parts& parts) : parts_(parts), poll_(parts.pollers) {}

  // -- asked for by a hypercall, done once it has returned and before the guest goes on
  /// SCHEDOP_block.
  void request_block() { block_requested_ = true; }
  /// SCHEDOP_yield: lets other vCPUs have the processor first.
  void request_yield() { yield_requested_ = true; }
  /// SCHEDOP_poll. `until_ns`: system time; 0: no limit.
  void request_poll(std::vector<Port> ports, std::uint64_t until_ns) {
    poll_.begin(std::move(ports), until_ns);
  }
  [[nodiscard]] bool is_polling() const { return poll_.is_active(); }
  /// The vCPU's thread ends.
  void end() { poll_.end(); }

  // -- before an entry
  void sleep_while_down(pvmmu::DomainLock& lock);
  void yield_if_asked(pvmmu::DomainLock& lock);
  void sleep_if_asked(pvmmu::DomainLock& lock);
  /// True: the vCPU was stopped, so what is due has to be looked at anew.
  [[nodiscard]] bool rest_while_stopped(pvmmu::DomainLock& lock);

 private:
  [[nodiscard]] bool may_go_on();
  /// Sleeps until kicked, until a timer of the vCPU's is due, or until the system time `until_ns` (0: no
  /// limit).
  void sleep(pvmmu::DomainLock& lock, std::uint64_t until_ns);
  /// The same, whatever the timers say.
  void sleep_until_kicked(pvmmu::DomainLock& lock, std::uint64_t deadline);
  void pause_tick();
  void resume_tick();

  Parts parts_;
  bool block_requested_ = false;
  bool yield_requested_ = false;
  Poll poll_;
};

}  // namespace pinfold::vmm
