// The vCPU's loop: everything that is due, the entry into the guest, and the exit's answer (exits.cpp).
#include <fmt/format.h>
#include <x86intrin.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "vmm/domain.hpp"
#include "vmm/vectors.hpp"

namespace pinfold::vmm {
namespace {

thread_local GuestCpu* running_cpu = nullptr;

/// The page-table work of one exit, in entries: at most a millisecond, then the guest may take events
/// (docs/decisions/work-at-a-stretch.md).
constexpr std::uint64_t entries_an_exit = 16384;

void on_kick(int, siginfo_t* info, void*) {
  if (running_cpu != nullptr) running_cpu->interrupt(info->si_code == SI_TIMER);
}

}  // namespace

void install_kick_handler() {
  struct sigaction action {};
  action.sa_sigaction = on_kick;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGUSR1, &action, nullptr);
}

void GuestCpu::run() {
  running_cpu = this;
  wakeup_.begin_thread();
  ask_for_window_exit(false);

  std::optional<pvmmu::DomainSharer> sharer;
  // Where the gate finishes what several vCPUs could do together, they do the rest one by one.
  if (domain_.config().vcpus > 1 && !traced_ && domain_.resident_share() == nullptr)
    sharer_ = &sharer.emplace(domain_.mutex());
  pvmmu::DomainLock lock(domain_.mutex());
  create_host_timer(lock);
  stops_.set_at_rest(lock, false);
  std::uint64_t left_at = __rdtsc();
  while (before_entry(lock)) {
    const std::uint64_t entered_at = __rdtsc();
    domain_.statistics().monitor_ticks += entered_at - left_at;
    domain_.flushes().entered(id_);
    lock.unlock();
    ResidentShare* const share = domain_.resident_share();
    if (share != nullptr) share->enters(id_);
    const RunResult result = run_to_the_guests_own_exit();
    wakeup_.refuse_signals();
    const bool left_with_lock = share != nullptr && share->leaves(id_);
    left_at = __rdtsc();
    lock.lock();
    if (left_with_lock) end_on_lock_not_left(lock, result);
    domain_.flushes().left(id_);
    domain_.statistics().entered_at = entered_at;
    domain_.statistics().left_at = left_at;
    after_exit(lock, result);
    finish_step(lock);
  }
  domain_.statistics().monitor_ticks += __rdtsc() - left_at;
  stops_.set_at_rest(lock, true);
  rests();
  sleep_.end();
  wakeup_.end_thread();
  host_timer_.destroy();
  running_cpu = nullptr;
}

/// KVM then also leaves the VM at each exit that it handled itself, so a SYSCALL comes out at once, without a
/// second exit.
bool GuestCpu::window_exits_answer_syscalls() const {
  const HostTraits& host = domain_.config().host;
  return host.syscall_stays_at_cpl3 && host.leaves_at_syscall;
}

/// Needs the lock, because other vCPUs may set this vCPU's timers before it runs.
void GuestCpu::create_host_timer(pvmmu::Held) {
  if (!host_timer_.create()) domain_.end(Ending::host_failure, "the host gives no timer to the vCPU");
  timers_.arm(now());
}

/// Does everything that is due before the guest goes on, and loads its registers. False: the domain is over.
bool GuestCpu::before_entry(pvmmu::DomainLock& lock) {
  if (stubs_.has_more()) {
    // After a stop, look at everything again once the entry stub is done.
    if (sleep_.rest_while_stopped(lock)) wakeup_.look_again();
    wakeup_.accept_signals();
    vcpu_.set_immediate_exit(false);
    load(lock);
    // The last stub leads into the guest itself: a kick that came meanwhile must not wait for the guest's
    // next exit.
    if (!stubs_.has_more() && wakeup_.is_kicked()) vcpu_.set_immediate_exit(true);
    return may_enter(lock);
  }
  while (!domain_.ended()) {
    // The order matters: a kick or timer that comes later sets the flag again, and the next run() returns at
    // once.
    vcpu_.set_immediate_exit(false);
    wakeup_.clear();
    check_timers(lock);
    sleep_.sleep_while_down(lock);
    sleep_.yield_if_asked(lock);
    sleep_.sleep_if_asked(lock);
    reuse_retired_mirrors(lock);
    domain_.flushes().await(lock, id_);
    if (sleep_.rest_while_stopped(lock)) continue;
    make_enterable(lock);
    const bool step_due = std::exchange(state_.step_due, false);
    if (!stops_.is_stepping() && !waits_for_end_of_shadow()) deliver_what_is_due(lock, step_due);
    if (end_on_breach(lock)) return false;
    wakeup_.accept_signals();  // and only then is_kicked(), lest a kick be lost
    if (wakeup_.is_kicked() || domain_.ended()) {
      wakeup_.refuse_signals();
      continue;
    }
    load(lock);
    return may_enter(lock);
  }
  return false;
}

/// Does whatever is due wait for the end of an interrupt shadow (interrupt_shadow.hpp)? KVM leaves the VM at
/// that end, also if it comes by an entry stub.
bool GuestCpu::waits_for_end_of_shadow() {
  if (regs_.changed || !shadow_.holds_events_back()) return false;
  if (state_.nmi.is_due() || event_deliverable()) ask_for_window_exit(true);
  return true;
}

/// The NMI, and then the event: as on Xen, the handler of an NMI may be interrupted by events, unless it
/// masks them. A single step must lead into neither handler: they wait. The guest's own single step over a
/// hypercall ends here (`step_due`), or behind the instruction after the handlers.
void GuestCpu::deliver_what_is_due(pvmmu::Held held, bool step_due) {
  const bool nmi = state_.nmi.is_due();
  if (nmi) {
    trace_entered(held, pvmmu::cause_other);
    deliver_nmi(held);
  }
  if (step_due && !nmi && !event_deliverable()) {
    trace_entered(held, pvmmu::cause_exception + vector::db);
    deliver_debug(held, dr6::single_step);
  }
  if (!event_deliverable()) return;
  trace_entered(held, pvmmu::cause_other);
  deliver_event(held);
}

/// Gives memory of free mirrors back to the host, and makes retired mirrors free for reuse.
void GuestCpu::reuse_retired_mirrors(pvmmu::DomainLock& lock) {
  domain_.arena().trim();
  if (!domain_.flushes().reuse_retired_mirrors(lock, id_, domain_.mmu()))
    domain_.end(Ending::isolation_fault,
                "the monitor was about to reuse page tables that processors may walk");
}

/// The last check before an entry. False: the domain is over. An entry stub that others follow leaves again
/// before guest code runs, so a flush may still be due then.
bool GuestCpu::may_enter(pvmmu::Held held) {
  if (domain_.ended()) return false;
  if (stubs_.has_more()) return true;
  const char* objection = domain_.flushes().duties().objection_to_entry(id_);
  if (objection == nullptr) return true;
  domain_.end(Ending::isolation_fault,
              fmt::format("the monitor was about to run guest code {}\n{}", objection, describe(held)));
  return false;
}

void GuestCpu::after_exit(pvmmu::DomainLock& lock, const RunResult& result) {
  notice_host_sleep(lock);
  trace_entered(lock, pvmmu::cause_other);
  domain_.mmu().set_budget(lock, pvmmu::Budget(entries_an_exit));
  if (domain_.config().host.fast_paths)
    for (std::uint64_t n = gate_link_.take(); n != 0; --n)
      domain_.statistics().count(ExitReason::interrupted);
  if (domain_.resident_share() != nullptr) {
    // Of roots that vCPUs have left in the gate.
    (void)domain_.mmu().finish_releases(lock);
    const pvmmu::MmuCounters entries = gate_link_.take_entries();
    if (entries.entries_stored != 0) {
      domain_.mmu().count(lock, entries);
      domain_.mmu_outcome(lock, *this, true);
    }
  }
  interrupted_ = false;
  repeats_fault_ = false;
  shadow_.leave();
  ask_for_window_exit(false);
  if (stubs_.under_way() && leaves_in_stub(lock, result)) return;
  switch (result.kind) {
    case RunResult::Kind::exited: on_exit(lock); break;
    case RunResult::Kind::interrupted: on_interruption(lock, ExitReason::interrupted); break;
    case RunResult::Kind::failed:
      capture();
      if (result.error == EFAULT)
        on_view_fault(lock);
      else
        domain_.end(Ending::host_failure, std::string("KVM_RUN failed: ") + std::strerror(result.error));
  }
  // An interruption is no progress of the guest.
  if (!repeats_fault_ && !interrupted_) repeated_fault_.other_exit();
}

/// True: the vCPU did not get to the end of its entry stub, so there is nothing to answer. If it was
/// interrupted in the stub, the guest's registers are still in regs_, and the stub is made again.
bool GuestCpu::leaves_in_stub(pvmmu::DomainLock& lock, const RunResult& result) {
  const auto at = gate_address();
  const bool inside = at && Gate::in_entry_stub(id_.raw(), *at);
  if (inside && is_interruption(result)) {
    (void)vcpu_.drop_exception();  // its IRETQ raises it again
    domain_.statistics().count(ExitReason::interrupted);
    regs_.changed = true;
    stubs_.interrupted();
    return true;
  }
  stubs_.finished(lock);
  if (!stubs_.has_more() || !inside || !left_by_port_) return false;
  regs_.changed = true;
  return true;
}

}  // namespace pinfold::vmm
