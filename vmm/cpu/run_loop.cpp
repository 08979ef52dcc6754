// The vCPU's loop: enter the guest, find out why it came back, answer.
#include <spdlog/spdlog.h>
#include <x86intrin.h>

#include <cerrno>
#include <cinttypes>
#include <csignal>

#include "vmm/domain.hpp"
#include "vmm/vectors.hpp"

namespace pinfold::vmm {
namespace {

thread_local GuestCpu* running_cpu = nullptr;

/// Page-table work before the guest may take an event: at most a millisecond of it
/// (docs/decisions/work-at-a-stretch.md).
constexpr std::uint64_t entries_an_exit = 16384;

constexpr std::uint8_t vector_ac = 17;

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
  // Leaves the VM at each exit that KVM handled itself: a SYSCALL comes out at once that way, without a
  // second exit.
  const HostTraits& host = domain_.config().host;
  vcpu_.shared().request_interrupt_window = host.syscall_stays_at_cpl3 && host.leaves_at_syscall ? 1 : 0;

  std::optional<pvmmu::DomainSharer> sharer;
  if (domain_.config().vcpus > 1 && !traced_) sharer_ = &sharer.emplace(domain_.mutex());
  pvmmu::DomainLock lock(domain_.mutex());
  create_host_timer(lock);
  stops_.set_at_rest(lock, false);
  std::uint64_t left_at = __rdtsc();
  while (before_entry(lock)) {
    const std::uint64_t entered_at = __rdtsc();
    domain_.statistics().monitor_ticks += entered_at - left_at;
    domain_.flushes().entered(id_);
    lock.unlock();
    const RunResult result = run_to_the_guests_own_exit();
    wakeup_.refuse_signals();
    left_at = __rdtsc();
    lock.lock();
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

/// Under the lock: other vCPUs may set this one's timers before it runs.
void GuestCpu::create_host_timer(pvmmu::Held) {
  if (!host_timer_.create()) domain_.end(Ending::host_failure, "the host gives no timer to the vCPU");
  timers_.arm(now());
}

/// Everything that is due before the guest goes on. False: the domain is over.
bool GuestCpu::before_entry(pvmmu::DomainLock& lock) {
  if (stubs_.has_more()) {
    // What came meanwhile is looked at behind the entry stub.
    if (sleep_.rest_while_stopped(lock)) wakeup_.look_again();
    wakeup_.accept_signals();
    vcpu_.set_immediate_exit(false);
    load(lock);
    // The last stub leads into the guest itself: a kick that came on the way must not wait for its next exit.
    if (!stubs_.has_more() && wakeup_.is_kicked()) vcpu_.set_immediate_exit(true);
    return may_enter(lock);
  }
  while (!domain_.ended()) {
    // In this order: a kick or timer that comes after it sets the flag again, and the next run() returns at
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
    // An event would take a step into its handler: it waits.
    if (!stops_.is_stepping() && event_deliverable()) {
      trace_entered(lock, pvmmu::cause_other);
      deliver_event(lock);
    }
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

/// Memory of mirrors that were forgotten goes back to the host, and what was given up becomes free for reuse.
void GuestCpu::reuse_retired_mirrors(pvmmu::DomainLock& lock) {
  domain_.arena().trim();
  if (!domain_.flushes().reuse_retired_mirrors(lock, id_, domain_.mmu()))
    domain_.end(Ending::isolation_fault,
                "the monitor was about to reuse page tables that processors may walk");
}

/// The last look before an entry. False: the domain is over. Only an entry stub that has others behind it
/// leaves again before guest code runs, and a flush may still be due then.
bool GuestCpu::may_enter(pvmmu::Held held) {
  if (domain_.ended()) return false;
  if (stubs_.has_more()) return true;
  const char* objection = domain_.flushes().duties().objection_to_entry(id_);
  if (objection == nullptr) return true;
  domain_.end(Ending::isolation_fault,
              fmt::format("the monitor was about to run guest code {}\n{}", objection, describe(held)));
  return false;
}

/// What KVM was about to deliver when the guest was interrupted, taken from it: the exception belongs to the
/// registers as they are, so it is answered before anything else changes them. Nothing: there is none, or the
/// instruction raises it again.
std::optional<GuestException> GuestCpu::take_waiting_exception() {
  const HostTraits& host = domain_.config().host;
  if (host.tells_if_interruptible && vcpu_.interruptible()) return std::nullopt;
  const auto events = vcpu_.events();
  if (!events || !vcpu_.drop_exception()) {
    domain_.end(Ending::host_failure,
                "KVM does not tell, or drop, the exception that it was about to deliver");
    return std::nullopt;
  }
  const auto& waiting = events->exception;
  if (waiting.injected != 0 || waiting.pending != 0) {
    const std::uint64_t error_code = waiting.has_error_code != 0 ? waiting.error_code : 0;
    return GuestException{waiting.nr, error_code, waiting.nr == 14 ? vcpu_.sregs().cr2 : 0};
  }
  // KVM never shows a breakpoint (arch/x86/kvm/x86.c, kvm_vcpu_ioctl_x86_get_vcpu_events). Without VT-x and
  // SVM the INT3 is done and RIP behind it; with them RIP is still at it.
  constexpr std::uint8_t breakpoint = 3;
  if (!host.syscall_stays_at_cpl3 || events->interrupt.shadow != 0) return std::nullopt;
  return GuestException{breakpoint, 0, 0};
}

void GuestCpu::after_exit(pvmmu::DomainLock& lock, const RunResult& result) {
  notice_host_sleep(lock);
  trace_entered(lock, pvmmu::cause_other);
  domain_.mmu().set_budget(lock, pvmmu::Budget(entries_an_exit));
  if (domain_.config().host.fast_paths)
    for (std::uint64_t n = gate_link_.take(); n != 0; --n)
      domain_.statistics().count(ExitReason::interrupted);
  interrupted_ = false;
  repeats_fault_ = false;
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
  // A mere interruption is no progress.
  if (!repeats_fault_ && !interrupted_) repeated_fault_.other_exit();
}

/// True: the vCPU did not get behind its entry stub, so there is nothing to answer. If it was interrupted in
/// the stub, the guest's registers are still in regs_, and the stub is made again.
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

/// The guest's registers, at an exit from CPL3.
void GuestCpu::capture() {
  const kvm_regs& r = vcpu_.regs();
  regs_.gpr = {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi,
               r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};
  regs_.rip = r.rip;
  regs_.rflags = stops_.is_stepping() ? r.rflags & ~rflags::tf : r.rflags;
  // A guest may load segment registers itself, and the bases go with them.
  bases_.forget_active();
  if (gate_link_.may_resume()) return;  // the gate says itself what else there is to know
  bases_.know_active();
  const kvm_sregs& s = vcpu_.sregs();
  if (processor_loads_selectors() && s.ss.dpl == 3) regs_.set_selectors(s.cs.selector, s.ss.selector);
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
    case KVM_EXIT_SHUTDOWN: return on_shutdown(lock);
    case KVM_EXIT_EXCEPTION:
      // A lock across cache lines, on a host with split_lock_detect=fatal (arch/x86/kvm/vmx/vmx.c): a
      // program's, which must not end its guest.
      if (run.ex.exception != vector_ac || at_cpl0()) break;
      capture();
      regs_.changed = true;
      return on_raised(lock, GuestException{vector_ac, 0, 0});
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
  else if (!gate_address())
    what = fmt::format("ran at {:#x}, which is not the gate", vcpu_.regs().rip);
  else
    return false;
  domain_.end(Ending::isolation_fault,
              "code at CPL0 of the domain's VM " + what + "; its view held\n" + describe(held));
  return true;
}

/// A triple fault. On AMD's processors KVM has reset the vCPU's registers by now (svm.c,
/// shutdown_interception): then those of the last entry are all that is known. Elsewhere they still show code
/// that got past the gate.
void GuestCpu::on_shutdown(pvmmu::Held held) {
  domain_.statistics().count(ExitReason::other);
  constexpr std::uint64_t cr0_pg = 1ULL << 31;
  const kvm_sregs& s = vcpu_.sregs();
  std::string where =
      fmt::format("an unknown address, since KVM has reset it; it was last entered for {:#x}, {}", regs_.rip,
                  entered_through_);
  if ((s.cr0 & cr0_pg) != 0) {
    capture();
    if (end_if_gate_is_lost(held)) return;
    where =
        fmt::format("{:#x}, CPL {}, on page tables at {:#x}", vcpu_.regs().rip, unsigned{s.ss.dpl}, s.cr3);
  }
  domain_.end(Ending::host_failure,
              fmt::format("vCPU {} shut down (triple fault) at {}\n{}", id_.raw(), where, describe(held)));
}

/// The guest was stopped between two instructions: its own, or those of the gate that were about to leave
/// anyway.
void GuestCpu::on_interruption(pvmmu::DomainLock& lock, ExitReason reason) {
  if (at_cpl0()) return on_interruption_at_cpl0(lock);
  if (const auto raised = take_waiting_exception()) {
    capture();
    regs_.changed = true;
    return on_raised(lock, *raised);
  }
  if (is_syscall_at_cpl3(AtOut::before)) {
    capture();
    return on_syscall(lock, SyscallEntry::bits64);
  }
  domain_.statistics().count(reason);
  capture();
  interrupted_ = true;
  if (reason == ExitReason::filled) fault_around(lock);
}

void GuestCpu::on_interruption_at_cpl0(pvmmu::DomainLock& lock) {
  if (const auto at = gate_address()) {
    if (domain_.config().host.fast_paths && Gate::fast_exit(id_.raw(), *at) == GateExit::returning)
      return on_fast_exit(lock, GateExit::returning);
    if (const auto entry = Gate::syscall_entry(*at, AtOut::before)) {
      capture();
      return on_syscall(lock, *entry);
    }
    if (const auto vector = Gate::exception_vector(*at, AtOut::before))
      return on_gate_exception(lock, *vector);
  }
  on_fast_exit(lock, GateExit::none);
}

void GuestCpu::on_port(pvmmu::DomainLock& lock) {
  const auto at = gate_address();
  if (at && is_finished_out(vcpu_.shared())) {
    if (domain_.config().host.fast_paths)
      if (const GateExit why = Gate::fast_exit(id_.raw(), *at); why != GateExit::none)
        return on_fast_exit(lock, why);
    if (const auto entry = Gate::syscall_entry(*at, AtOut::behind)) {
      capture();
      return on_syscall(lock, *entry);
    }
    if (const auto vector = Gate::exception_vector(*at, AtOut::behind))
      return on_gate_exception(lock, *vector);
  }
  if (at_cpl0()) return on_fast_exit(lock, GateExit::none);
  if (is_finished_out(vcpu_.shared()) && is_syscall_at_cpl3(AtOut::behind)) {
    ++domain_.statistics().slow_syscalls;
    capture();
    return on_syscall(lock, SyscallEntry::bits64);
  }
  on_guests_own_port(lock);
}

/// Did the SYSCALL that stays at CPL3 bring the vCPU here? A program may jump to the same address. So RCX and
/// R11 have to be what SYSCALL makes of RIP and RFLAGS (Intel SDM vol. 2, SYSCALL): RCX canonical, and R11
/// the flags, of which RFLAGS still has those that IA32_FMASK does not clear. Whoever jumps here with such
/// registers gets what a SYSCALL in front of RCX would give.
bool GuestCpu::is_syscall_at_cpl3(AtOut stopped) {
  constexpr std::uint64_t kept = rflags::cf | rflags::pf | rflags::af | rflags::zf | rflags::sf | rflags::of;
  const kvm_regs& r = vcpu_.regs();
  return domain_.config().host.syscall_stays_at_cpl3 && Gate::is_syscall_entry_at_cpl3(r.rip, stopped) &&
         is_canonical(r.rcx - 1) && ((r.r11 ^ r.rflags) & kept) == 0;
}

/// IN, OUT, or their string forms, executed by the guest where the gate's port is open to CPL3. It is made
/// the fault that it is elsewhere, at the instruction, or behind its prefixes: KVM moves RIP past an OUT at
/// once.
void GuestCpu::on_guests_own_port(pvmmu::DomainLock& lock) {
  const kvm_run& run = vcpu_.shared();
  capture();
  domain_.statistics().count(ExitReason::protection_fault);
  regs_.changed = true;
  constexpr std::byte repeat{0xf3};
  const auto code = instruction(lock);
  const bool repeats = !code.empty() && code.front() == repeat;  // more of it is to come, at the same RIP
  if (run.io.direction == KVM_EXIT_IO_OUT && !repeats) {
    // The port is an immediate byte, also in the gate's own OUT, which can't be read here; or it is in DX.
    const auto last = memory(lock).fetch<std::byte>(GuestVaddr(regs_.rip - 1));
    regs_.rip -= last && *last != std::byte{exit_port} ? 1 : 2;
  }
  if (auto finished = vcpu_.finish_access(); !finished) {
    domain_.end(Ending::host_failure, finished.error().message + "\n" + describe(lock));
    return;
  }
  on_protection_fault(lock, 0);
}

/// A fault of an IRETQ to the guest, whose registers are in regs_.
void GuestCpu::on_fault_of_return(pvmmu::Held held, const GuestException& raised) {
  const DescriptorTables::LdtFault fault = look_into_ldt(held, raised);
  if (!fault.resolved) return on_refused_return(held, fault.exception);
  domain_.statistics().count(ExitReason::page_fault);
  regs_.changed = true;
}

void GuestCpu::on_gate_exception(pvmmu::DomainLock& lock, std::uint8_t vector) {
  on_gate_exception(
      lock, vector,
      domain_.gate().exception_frame(id_.raw(), vcpu_.regs().rsp, vector::has_error_code(vector)));
}

void GuestCpu::on_gate_exception(pvmmu::Held lock, std::uint8_t vector, const ExceptionFrame& frame) {
  // At the gate's own exits CR2 is in the state page.
  const auto cr2 = [&] { return gate_link_.may_resume() ? gate_link_.fault_address() : vcpu_.sregs().cr2; };
  const GuestException raised{vector, frame.error_code, vector == 14 ? cr2() : 0};
  const auto in_gate = GateAddress::at(frame.cs & 3, frame.rip);
  if (in_gate && Gate::in_entry_stub(id_.raw(), *in_gate)) return on_fault_of_return(lock, raised);
  capture();
  regs_.rip = frame.rip;
  regs_.rflags = stops_.is_stepping() ? frame.rflags & ~rflags::tf : frame.rflags;
  regs_[Gpr::rsp] = frame.rsp;
  regs_.changed = true;
  if ((frame.cs & 3) == 0) {
    domain_.end(Ending::host_failure,
                fmt::format("exception {} inside the gate at {:#x}, error code {:#x}, CR2 {:#x}\n{}", vector,
                            frame.rip, frame.error_code, vcpu_.sregs().cr2, describe(lock)));
    return;
  }
  if (processor_loads_selectors())
    regs_.set_selectors(static_cast<std::uint16_t>(frame.cs), static_cast<std::uint16_t>(frame.ss));
  on_raised(lock, raised);
}

/// An exception of guest code, whose registers are in regs_.
void GuestCpu::on_raised(pvmmu::Held held, const GuestException& raised) {
  const DescriptorTables::LdtFault fault = look_into_ldt(held, raised);
  if (!fault.in_ldt) return on_exception(held, raised);
  domain_.statistics().count(ExitReason::page_fault);
  if (!fault.resolved) deliver(held, fault.exception);
}

/// An entry stub ended in an IRETQ that the processor refused: the guest returned to selectors that its
/// descriptor tables don't back. Its registers are still in regs_; it gets the fault in place of the return.
void GuestCpu::on_refused_return(pvmmu::Held held, const GuestException& exception) {
  domain_.statistics().count(exception.vector == 14 ? ExitReason::page_fault : ExitReason::protection_fault);
  regs_.changed = true;
  deliver(held, exception);
}

void GuestCpu::on_syscall(pvmmu::DomainLock& lock, SyscallEntry entry) {
  regs_.rip = regs_[Gpr::rcx];
  regs_.rflags = regs_[Gpr::r11] & (rflags::guests_own | rflags::nt | rflags::if_ | rflags::fixed);
  regs_.changed = true;
  if (entry == SyscallEntry::bits32)
    regs_.cs = gate::code32;
  else if (processor_loads_selectors())
    regs_.cs = gate::code64;
  if (!state_.kernel_mode) {
    domain_.statistics().count(ExitReason::guest_syscall);
    return deliver_syscall(lock);
  }
  domain_.statistics().count(ExitReason::hypercall);
  regs_.set_selectors(gate::code64, gate::data3);
  hypercall(lock);
}

}  // namespace pinfold::vmm
