// The vCPU's loop: enter the guest, find out why it came back, answer.
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <x86intrin.h>

#include <cerrno>
#include <cinttypes>

#include "vmm/domain.hpp"

namespace pinfold::vmm {
namespace {

thread_local GuestCpu* running_cpu = nullptr;

/// Page-table work before the guest may take an event: at most a millisecond of it
/// (docs/decisions/work-at-a-stretch.md).
constexpr std::uint64_t entries_an_exit = 16384;

/// Page-fault error code: from user mode (Intel SDM vol. 3, 4.7).
constexpr std::uint64_t pf_user = 4;

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
  thread_ = pthread_self();
  // Leaves the VM at each exit that KVM handled itself: a SYSCALL comes out at once that way, without a
  // second exit.
  vcpu_.shared().request_interrupt_window = domain_.config().host.syscall_stays_at_cpl3 ? 1 : 0;

  std::optional<pvmmu::DomainSharer> sharer;
  if (domain_.config().vcpus > 1 && !watched_) sharer_ = &sharer.emplace(domain_.mutex());
  pvmmu::DomainLock lock(domain_.mutex());
  create_host_timer();  // under the lock: other vCPUs may set this one's timers before it runs
  rest(false);
  std::uint64_t left_at = __rdtsc();
  while (before_entry(lock)) {
    const std::uint64_t entered_at = __rdtsc();
    domain_.statistics().monitor_ticks += entered_at - left_at;
    domain_.flushes().entered(id_);
    lock.unlock();
    const RunResult result = run_to_the_guests_own_exit();
    takes_signals_ = false;
    left_at = __rdtsc();
    lock.lock();
    domain_.flushes().left(id_);
    domain_.vcpu_left_guest();
    domain_.statistics().entered_at = entered_at;
    domain_.statistics().left_at = left_at;
    after_exit(lock, result);
    finish_step(lock);
  }
  domain_.statistics().monitor_ticks += __rdtsc() - left_at;
  rest(true);
  poll_.end();
  {
    const std::lock_guard nobody_sends_a_signal(sleep_mutex_);
    takes_signals_ = false;
  }
  delete_host_timer();
  running_cpu = nullptr;
}

/// Everything that is due before the guest goes on. False: the domain is over.
bool GuestCpu::before_entry(pvmmu::DomainLock& lock) {
  if (more_passes_) {
    if (rest_while_stopped(lock)) kicked_ = true;  // what came meanwhile is looked at behind the pass
    takes_signals_ = true;
    vcpu_.set_immediate_exit(false);
    load(lock);
    // The last pass leads into the guest itself: a kick that came on the way must not wait for its next exit.
    if (!more_passes_ && kicked_) vcpu_.set_immediate_exit(true);
    return may_enter(lock);
  }
  while (!domain_.ended()) {
    // In this order: a kick or timer that comes after it sets the flag again, and the next run() returns at
    // once.
    vcpu_.set_immediate_exit(false);
    kicked_ = false;
    check_timers(lock);
    sleep_while_down(lock);
    yield_if_asked(lock);
    sleep_if_asked(lock);
    forget_retired_mirrors(lock);
    await_flushes(lock);
    if (rest_while_stopped(lock)) continue;
    make_enterable(lock);
    // An event would take a step into its handler: it waits.
    if (!stepping_ && event_deliverable() && !exception_in_flight(lock)) {
      tell_entered(lock, pvmmu::cause_other);
      deliver_event(lock);
    }
    if (end_on_breach(lock)) return false;
    // Who kicks sets kicked_ and then looks whether a signal is needed; here it is the other way round.
    takes_signals_ = true;
    if (kicked_ || domain_.ended()) {
      takes_signals_ = false;
      continue;
    }
    load(lock);
    return may_enter(lock);
  }
  return false;
}

/// After an interruption KVM may hold an exception that it was about to deliver. It belongs to the registers
/// as they are, so an event has to wait: the exception comes out at the gate at once.
bool GuestCpu::exception_in_flight(pvmmu::Held held) {
  if (!interrupted_) return false;
  const auto events = vcpu_.events();
  if (!events || events->exception.injected != 0 || events->exception.pending != 0) return true;
  // KVM does not tell of a breakpoint trap that waits, and forgets it when registers are set. If there is
  // none after all, the event waits until the next exit, at the latest the host's next tick.
  constexpr std::byte int3{0xcc};
  const auto before = memory(held).fetch<std::byte>(GuestVaddr(regs_.rip - 1));
  return before && *before == int3;
}

void GuestCpu::after_exit(pvmmu::DomainLock& lock, const RunResult& result) {
  notice_host_sleep(lock);
  tell_entered(lock, pvmmu::cause_other);
  domain_.mmu().set_budget(lock, pvmmu::Budget(entries_an_exit));
  left_by_gate_ = false;
  if (domain_.config().host.fast_paths) take_from_gate();
  interrupted_ = false;
  if (pass_under_way_) {
    if (Gate::in_pass(id_.raw(), vcpu_.regs().rip) && result.kind != RunResult::Kind::failed) {
      // Interrupted on the way: the guest's registers are still in regs_, and the stores can be made again.
      domain_.statistics().count(ExitReason::interrupted);
      registers_changed_ = true;
      domain_.flushes().request(id_);
      return;
    }
    pass_under_way_ = false;
    domain_.mmu().stale_entries_settled(lock, std::exchange(settles_below_, 0));
    if (more_passes_) {
      registers_changed_ = true;
      return;
    }
  }
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
}

/// The guest's registers, at an exit from CPL3.
void GuestCpu::capture() {
  const kvm_regs& r = vcpu_.regs();
  regs_.gpr = {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi,
               r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};
  regs_.rip = r.rip;
  regs_.rflags = stepping_ ? r.rflags & ~rflags::tf : r.rflags;
  // A guest may load segment registers itself, and the bases go with them.
  bases_known_ = false;
  if (left_by_gate_) return;  // which says itself what else there is to know
  know_bases();
  const kvm_sregs& s = vcpu_.sregs();
  if (processor_loads_selectors() && s.ss.dpl == 3) set_selectors(s.cs.selector, s.ss.selector);
}

void GuestCpu::on_exit(pvmmu::DomainLock& lock) {
  const kvm_run& run = vcpu_.shared();
  switch (run.exit_reason) {
    case KVM_EXIT_IO: return on_port(lock);
    case KVM_EXIT_IRQ_WINDOW_OPEN: return on_interruption(lock, ExitReason::filled);
    case KVM_EXIT_INTR: return on_interruption(lock, ExitReason::interrupted);
    case KVM_EXIT_MMIO:
      // Nothing is mapped outside the slots: only an access that the view forbids, made at CPL0, ends here.
      capture();
      domain_.statistics().count(ExitReason::view_fault);
      domain_.end(Ending::isolation_fault,
                  explain_physical_access(Mfn(run.mmio.phys_addr >> page_shift), run.mmio.is_write != 0) +
                      "\n" + describe(lock));
      return;
    case KVM_EXIT_SHUTDOWN:
      capture();
      if (end_if_gate_is_lost(lock)) return;
      domain_.end(Ending::host_failure,
                  "the gate took a fault it can't handle (triple fault)\n" + describe(lock));
      return;
    default: break;
  }
  capture();
  domain_.statistics().count(ExitReason::other);
  if (end_if_gate_is_lost(lock)) return;
  domain_.end(
      Ending::host_failure,
      fmt::format("KVM left the guest for a reason that has no answer here: {} (suberror {})\n{}",
                  run.exit_reason, run.exit_reason == KVM_EXIT_INTERNAL_ERROR ? run.internal.suberror : 0U,
                  describe(lock)));
}

/// Code at CPL0 that is not the gate's, or that runs on page tables which are not the domain's mirrors, is an
/// attack that got past the gate.
bool GuestCpu::end_if_gate_is_lost(pvmmu::Held held) {
  if (!at_cpl0()) return false;
  const kvm_sregs& s = vcpu_.sregs();
  const auto mirror_of = [&](Mfn root) {
    return root == no_mfn ? 0 : address_of(domain_.mmu().mirror_of_root(held, root)).raw();
  };
  std::string what;
  if (s.cr3 != mirror_of(state_.kernel_root) && s.cr3 != mirror_of(state_.user_root))
    what = fmt::format("ran on page tables at {:#x}, which are none of its mirrors", s.cr3);
  else if (!Gate::contains(regs_.rip))
    what = fmt::format("ran at {:#x}, which is not the gate", regs_.rip);
  else
    return false;
  domain_.end(Ending::isolation_fault,
              "code at CPL0 of the domain's VM " + what + "; its view held\n" + describe(held));
  return true;
}

/// The guest was stopped between two instructions: its own, or those of the gate that were about to leave
/// anyway.
void GuestCpu::on_interruption(pvmmu::DomainLock& lock, ExitReason reason) {
  const std::uint64_t rip = vcpu_.regs().rip;
  if (domain_.config().host.fast_paths && at_cpl0() && Gate::fast_exit(id_.raw(), rip) == GateExit::returning)
    return on_fast_exit(lock, GateExit::returning);
  if (const auto entry = Gate::syscall_entry(rip)) {
    capture();
    return on_syscall(lock, *entry);
  }
  if (const auto vector = Gate::exception_vector(rip)) return on_gate_exception(lock, *vector);
  domain_.statistics().count(reason);
  capture();
  interrupted_ = true;
  if (reason == ExitReason::filled) fault_around(lock);
}

void GuestCpu::on_port(pvmmu::DomainLock& lock) {
  const std::uint64_t rip = vcpu_.regs().rip;
  if (const auto entry = Gate::syscall_entry(rip)) {
    if (domain_.config().host.syscall_stays_at_cpl3) ++domain_.statistics().slow_syscalls;
    capture();
    return on_syscall(lock, *entry);
  }
  if (const auto vector = Gate::exception_vector(rip)) return on_gate_exception(lock, *vector);
  // A guest's own OUT faults there, so this one was made at CPL0, and at that address by the gate.
  if (domain_.config().host.fast_paths)
    if (const GateExit why = Gate::fast_exit(id_.raw(), rip); why != GateExit::none || at_cpl0())
      return on_fast_exit(lock, why);

  // The guest's own OUT to the gate's port, in user or kernel mode: a guest has no such port.
  capture();
  domain_.statistics().count(ExitReason::protection_fault);
  registers_changed_ = true;
  std::array<std::byte, 2> before{};
  const bool immediate = memory(lock).read(GuestVaddr(regs_.rip - 2), before).has_value() &&
                         before[0] == std::byte{0xe6} && before[1] == std::byte{gate::port};
  regs_.rip -= immediate ? 2 : 1;
  deliver(lock, GuestException{13, 0, 0});
}

/// The processor looks for a descriptor in a page of the LDT that is not there yet, or not at all: what the
/// guest's LDT lacks is a fault of the guest's, where it has its LDT.
GuestCpu::LdtFault GuestCpu::look_into_ldt(pvmmu::Held held, const GuestException& raised) {
  LdtFault found{raised};
  const auto offset = raised.vector == 14 ? Gate::offset_in_ldt(id_.raw(), raised.address) : std::nullopt;
  if (!offset) return found;
  found.in_ldt = true;
  constexpr std::uint64_t selector_local = 4, descriptor_bytes = 8;
  if (*offset / descriptor_bytes >=
      state_.ldt_entries) {  // past the limit, had the guest's LDT one of its own
    found.exception = GuestException{13, (*offset & ~(descriptor_bytes - 1)) | selector_local, 0};
    return found;
  }
  found.resolved = bring_in_ldt_page(held, *offset / page_size);
  found.exception.address = state_.ldt_base.raw() + *offset;
  // The processor looked on its own behalf; for the guest's handler it was who the guest was.
  found.exception.error_code = (raised.error_code & ~pf_user) | (state_.kernel_mode ? 0 : pf_user);
  return found;
}

/// A fault of an IRETQ to the guest, whose registers are in regs_.
void GuestCpu::on_fault_of_return(pvmmu::Held held, const GuestException& raised) {
  const LdtFault fault = look_into_ldt(held, raised);
  if (!fault.resolved) return on_refused_return(held, fault.exception);
  domain_.statistics().count(ExitReason::page_fault);
  registers_changed_ = true;
}

void GuestCpu::on_gate_exception(pvmmu::DomainLock& lock, std::uint8_t vector) {
  on_gate_exception(
      lock, vector,
      domain_.gate().exception_frame(id_.raw(), vcpu_.regs().rsp, Gate::has_error_code(vector)));
}

void GuestCpu::on_gate_exception(pvmmu::Held lock, std::uint8_t vector, const ExceptionFrame& frame) {
  const GuestException raised{vector, frame.error_code, vector == 14 ? fault_address() : 0};
  if ((frame.cs & 3) == 0 && Gate::in_pass(id_.raw(), frame.rip)) return on_fault_of_return(lock, raised);
  const LdtFault fault = look_into_ldt(lock, raised);
  capture();
  regs_.rip = frame.rip;
  regs_.rflags = stepping_ ? frame.rflags & ~rflags::tf : frame.rflags;
  regs_[Gpr::rsp] = frame.rsp;
  registers_changed_ = true;
  if ((frame.cs & 3) == 0) {
    domain_.end(Ending::host_failure,
                fmt::format("exception {} inside the gate at {:#x}, error code {:#x}, CR2 {:#x}\n{}", vector,
                            frame.rip, frame.error_code, vcpu_.sregs().cr2, describe(lock)));
    return;
  }
  if (processor_loads_selectors())
    set_selectors(static_cast<std::uint16_t>(frame.cs), static_cast<std::uint16_t>(frame.ss));
  if (!fault.in_ldt) return on_exception(lock, raised);
  domain_.statistics().count(ExitReason::page_fault);
  if (!fault.resolved) deliver(lock, fault.exception);
}

/// A pass ended in an IRETQ that the processor refused: the guest returned to selectors that its descriptor
/// tables don't back. Its registers are still in regs_; it gets the fault in place of the return.
void GuestCpu::on_refused_return(pvmmu::Held held, const GuestException& exception) {
  domain_.statistics().count(exception.vector == 14 ? ExitReason::page_fault : ExitReason::protection_fault);
  registers_changed_ = true;
  deliver(held, exception);
}

void GuestCpu::on_syscall(pvmmu::DomainLock& lock, SyscallEntry entry) {
  regs_.rip = regs_[Gpr::rcx];
  regs_.rflags = regs_[Gpr::r11];
  registers_changed_ = true;
  if (entry == SyscallEntry::bits32)
    cs_ = gate::code32;
  else if (processor_loads_selectors())
    cs_ = gate::code64;
  if (!state_.kernel_mode) {
    domain_.statistics().count(ExitReason::guest_syscall);
    return deliver_syscall(lock);
  }
  domain_.statistics().count(ExitReason::hypercall);
  set_selectors(gate::code64, gate::data3);
  hypercall(lock);
}

}  // namespace pinfold::vmm
