// Why a vCPU left the guest: system calls, exceptions, interruptions, and what should never happen.
#include <fmt/format.h>

#include "vmm/cpu/view_fault.hpp"
#include "vmm/domain.hpp"
#include "vmm/vectors.hpp"

namespace pinfold::vmm {

/// Takes the guest's registers at an exit from CPL3.
void GuestCpu::capture() {
  const kvm_regs& r = vcpu_.regs();
  regs_.gpr = {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi,
               r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};
  regs_.rip = r.rip;
  regs_.rflags = stops_.is_stepping() ? r.rflags & ~rflags::tf : r.rflags;
  // The guest may have loaded segment registers itself, which changes their bases.
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
    case KVM_EXIT_IRQ_WINDOW_OPEN:
      return on_interruption(lock,
                             window_exits_answer_syscalls() ? ExitReason::filled : ExitReason::interrupted);
    case KVM_EXIT_INTR: return on_interruption(lock, ExitReason::interrupted);
    case KVM_EXIT_MMIO:
      // The guest's page tables can't name an address outside the memory slots, so this is an access by code
      // at CPL0 that the view forbids.
      capture();
      domain_.statistics().count(ExitReason::view_fault);
      domain_.end(Ending::isolation_fault,
                  explain_physical_access(domain_.mmu(), Mfn(run.mmio.phys_addr >> page_shift),
                                          run.mmio.is_write != 0) +
                      "\n" + describe(lock));
      return;
    case KVM_EXIT_SHUTDOWN: return on_shutdown(lock);
    case KVM_EXIT_EXCEPTION:
      // A program made a locked access across cache lines, and the host has split_lock_detect=fatal
      // (arch/x86/kvm/vmx/vmx.c). That must not end its guest.
      if (run.ex.exception != vector::ac || at_cpl0()) break;
      capture();
      regs_.changed = true;
      if (!vcpu_.interruptible()) shadow_.stop();  // interrupts are enabled at CPL3
      return on_raised(lock, GuestException{vector::ac, 0, 0});
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

/// Ends the domain if code at CPL0 is not the gate's, or runs on page tables that are not the domain's
/// mirrors: an attack got past the gate. Returns whether it did.
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

/// A triple fault. On AMD processors KVM has already reset the vCPU's registers (svm.c,
/// shutdown_interception), so only those of the last entry are known. Elsewhere the registers still show
/// whether code got past the gate.
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

/// The vCPU was stopped between two instructions: of the guest, or of the gate, which was about to leave the
/// VM anyway.
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

/// Was it the SYSCALL that stays at CPL3? A program may also jump to that address. So RCX and R11 have to be
/// what SYSCALL makes of RIP and RFLAGS (Intel SDM vol. 2, SYSCALL): RCX is canonical, and R11 has the flags,
/// of which RFLAGS still has those that IA32_FMASK does not clear. A program that jumps here with such
/// registers gets what a SYSCALL in front of RCX would do.
bool GuestCpu::is_syscall_at_cpl3(AtOut stopped) {
  constexpr std::uint64_t kept = rflags::cf | rflags::pf | rflags::af | rflags::zf | rflags::sf | rflags::of;
  const kvm_regs& r = vcpu_.regs();
  return domain_.config().host.syscall_stays_at_cpl3 && Gate::is_syscall_entry_at_cpl3(r.rip, stopped) &&
         is_canonical(r.rcx - 1) && ((r.r11 ^ r.rflags) & kept) == 0;
}

/// The guest executed IN, OUT or a string form of them where the gate's port is open to CPL3. It gets the
/// fault that it would get elsewhere. RIP has to be at the instruction for that, or behind its prefixes, but
/// KVM has already moved it past an OUT.
void GuestCpu::on_guests_own_port(pvmmu::DomainLock& lock) {
  const kvm_run& run = vcpu_.shared();
  capture();
  domain_.statistics().count(ExitReason::protection_fault);
  regs_.changed = true;
  constexpr std::byte repeat{0xf3};
  const auto code = instruction(lock);
  const bool repeats = !code.empty() && code.front() == repeat;  // more of it is to come, at the same RIP
  if (run.io.direction == KVM_EXIT_IO_OUT && !repeats) {
    // An OUT takes two bytes if the port is an immediate byte, also in the gate's own OUT, which can't be
    // read here; and one byte if the port is in DX.
    const auto last = memory(lock).fetch<std::byte>(GuestVaddr(regs_.rip - 1));
    regs_.rip -= last && *last != std::byte{exit_port} ? 1 : 2;
  }
  if (auto finished = vcpu_.finish_access(); !finished) {
    domain_.end(Ending::host_failure, finished.error().message + "\n" + describe(lock));
    return;
  }
  on_protection_fault(lock, 0);
}

/// The IRETQ that returns to the guest faulted. The guest's registers are in regs_.
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
  // After an exit of the gate itself CR2 is in the state page.
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

/// Guest code raised an exception. Its registers are in regs_.
void GuestCpu::on_raised(pvmmu::Held held, const GuestException& raised) {
  const DescriptorTables::LdtFault fault = look_into_ldt(held, raised);
  if (!fault.in_ldt) return on_exception(held, raised);
  domain_.statistics().count(ExitReason::page_fault);
  if (!fault.resolved) deliver(held, fault.exception);
}

/// The processor refused the IRETQ that returns to the guest, because the guest's descriptor tables have no
/// such segments. The guest's registers are still in regs_; it gets the fault instead of the return.
void GuestCpu::on_refused_return(pvmmu::Held held, const GuestException& exception) {
  domain_.statistics().count(exception.vector == 14 ? ExitReason::page_fault : ExitReason::protection_fault);
  regs_.changed = true;
  deliver(held, exception);
}

void GuestCpu::on_syscall(pvmmu::DomainLock& lock, SyscallEntry entry) {
  regs_.rip = regs_[Gpr::rcx];
  regs_.rflags = regs_[Gpr::r11] & (rflags::guests_own | rflags::if_ | rflags::fixed);
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

/// Takes the exception that KVM was about to deliver when the guest was interrupted. It belongs to the
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
  if (events->interrupt.shadow != 0) shadow_.stop();
  const auto& waiting = events->exception;
  if (waiting.injected != 0 || waiting.pending != 0) {
    const std::uint64_t error_code = waiting.has_error_code != 0 ? waiting.error_code : 0;
    return GuestException{waiting.nr, error_code, waiting.nr == 14 ? vcpu_.sregs().cr2 : 0};
  }
  // KVM never shows a breakpoint (arch/x86/kvm/x86.c, kvm_vcpu_ioctl_x86_get_vcpu_events). Without VT-x and
  // SVM the INT3 is already done and RIP is behind it; with them RIP is still at the INT3.
  constexpr std::uint8_t breakpoint = 3;
  if (!host.syscall_stays_at_cpl3 || events->interrupt.shadow != 0) return std::nullopt;
  return GuestException{breakpoint, 0, 0};
}

}  // namespace pinfold::vmm
