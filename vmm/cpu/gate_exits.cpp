// Exits by the gate's fast paths (gate_link.hpp), and the way back into the gate.
#include <fmt/format.h>

#include <cstring>

#include "vmm/domain.hpp"

namespace pinfold::vmm {

/// At a port exit the processor has checked the privilege level, unless CPL3 may use the port (Intel SDM vol.
/// 1, 19.5.2). Otherwise the level is SS.DPL in KVM's registers, whatever CS is (vol. 3, 24.4.1; AMD APM vol.
/// 2, 15.5.1).
bool GuestCpu::at_cpl0() {
  if (left_by_port_ && !domain_.config().host.port_open_to_cpl3()) return true;
  return vcpu_.sregs().ss.dpl == 0;
}

std::optional<GateAddress> GuestCpu::gate_address() {
  const std::uint64_t rip = vcpu_.regs().rip;
  constexpr unsigned cpl3 = 3;
  if (!in_xen_range(rip)) return std::nullopt;  // without asking KVM
  return GateAddress::at(at_cpl0() ? 0 : cpl3, rip);
}

bool GuestCpu::is_interruption(const RunResult& result) const {
  const std::uint32_t reason = vcpu_.shared().exit_reason;
  return result.kind == RunResult::Kind::interrupted ||
         (result.kind == RunResult::Kind::exited &&
          (reason == KVM_EXIT_INTR || reason == KVM_EXIT_IRQ_WINDOW_OPEN));
}

/// Was the vCPU interrupted while the gate had done only half of its work? That includes the case that only
/// the IRETQ is left, but has faulted, and the exception waits.
bool GuestCpu::inside_gate(const RunResult& result) {
  if (!is_interruption(result)) return false;
  const auto at = gate_address();
  if (at && Gate::in_debug_entry(*at)) return true;
  if (!at || !Gate::in_fast_paths(id_.raw(), *at)) return false;
  if (Gate::fast_exit(id_.raw(), *at) != GateExit::returning) return true;
  const auto events = vcpu_.events();
  return !events || events->exception.injected != 0 || events->exception.pending != 0;
}

RunResult GuestCpu::run_vcpu() {
  const RunResult result = vcpu_.run();
  left_by_port_ = result.kind == RunResult::Kind::exited && vcpu_.shared().exit_reason == KVM_EXIT_IO;
  return result;
}

/// Enters the guest. If the vCPU is interrupted inside the gate, it is entered again so that the gate can
/// finish, which takes a few hundred instructions, and then leave instead of returning to the guest. Until
/// then the vCPU counts as one that has not left the guest.
RunResult GuestCpu::run_to_the_guests_own_exit() {
  RunResult result = run_vcpu();
  const HostTraits& host = domain_.config().host;
  if (!host.fast_paths && !host.debug_registers) return result;
  for (std::uint64_t returns = 0; inside_gate(result) && !domain_.ended(); ++returns) {
    if (returns == ResidentShare::most_returns) {
      domain_.end(Ending::isolation_fault, "the gate did not come to an end of its work");
      return result;
    }
    if (host.fast_paths) gate_link_.ask_to_come_out();
    vcpu_.set_immediate_exit(false);
    result = run_vcpu();
  }
  return result;
}

/// The segment bases that an instruction may use. To fetch them takes a system call, and an instruction
/// without a byte that is the prefix of FS or GS uses neither.
SegmentBases GuestCpu::bases_for(std::span<const std::byte> instruction) {
  constexpr int prefix_fs = 0x64, prefix_gs = 0x65;
  const auto has = [&](int byte) {
    return std::memchr(instruction.data(), byte, instruction.size()) != nullptr;
  };
  const bool may = has(prefix_fs) || has(prefix_gs);
  return may ? SegmentBases{bases_.fs(), bases_.active_gs()} : SegmentBases{};
}

/// Resumes the vCPU in the gate, where it left. System registers stay as they are, except for what the
/// monitor changed; IRETQ loads the guest's segments, and the gate loads another CR3 if it has to. Until then
/// the gate runs on the mirror that it left on. The guest may have given up that table, but its mirror is not
/// reused before.
void GuestCpu::resume_in_gate(pvmmu::Held held) {
  FlushDuties& duties = domain_.flushes().duties();
  if ((bases_.knows_active() || gate_link_.task_switched_differs() || state_.cr4_changed) && load_bases())
    vcpu_.mark_sregs_dirty();
  std::optional<std::uint64_t> cr3 = cr3_of(held, root());
  if (duties.root_may_be_gone(id_)) {
    vcpu_.sregs().cr3 = *cr3;
    vcpu_.mark_sregs_dirty();
    duties.root_loaded(id_);
  }
  if (gate_link_.cr3() == *cr3 && !duties.due(id_)) cr3.reset();
  if (cr3) duties.handed_over(id_);
  domain_.gate().resume(vcpu_, id_.raw(), regs_.cs, regs_.ss, cr3);
}

/// The gate leaves the VM only once it has left the lock that it shares. Where the view refused an access of
/// its own, the exit itself is the report (on_view_fault).
void GuestCpu::end_on_lock_not_left(pvmmu::Held, const RunResult& result) {
  if (result.kind == RunResult::Kind::failed) return;
  domain_.end(
      Ending::isolation_fault,
      fmt::format("the vCPU left the VM (KVM exit {}) while the gate said that it shared the domain's lock",
                  vcpu_.shared().exit_reason));
}

void GuestCpu::on_fast_exit(pvmmu::DomainLock& lock, GateExit why) {
  const Gate& gate = domain_.gate();
  gate_link_.note_exit(why);
  switch (why) {
    case GateExit::syscall:
      capture();
      regs_[Gpr::rsp] = gate_link_.guest_rsp();
      return on_syscall(lock, SyscallEntry::bits64);
    case GateExit::exception:
    case GateExit::broken: {
      const std::uint64_t rsp = vcpu_.regs().rsp;
      return on_gate_exception(lock, gate.fast_vector(id_.raw(), rsp),
                               gate.exception_frame(id_.raw(), rsp + 8, true));
    }
    case GateExit::returning: domain_.statistics().count(ExitReason::interrupted); return capture_return();
    case GateExit::refused:
      capture_return();
      return on_fault_of_return(lock, gate_link_.refused_return(vcpu_.sregs().cr2));
    case GateExit::none: break;
  }
  capture();
  if (end_if_gate_is_lost(lock)) return;
  domain_.end(Ending::host_failure,
              "the gate left at an address that it does not leave at\n" + describe(lock));
}

/// Takes the guest's registers from the frame of the IRETQ that the gate was about to execute.
void GuestCpu::capture_return() {
  capture();
  const ExceptionFrame frame = domain_.gate().exception_frame(id_.raw(), vcpu_.regs().rsp, false);
  regs_.rip = frame.rip;
  regs_.rflags = frame.rflags;
  regs_[Gpr::rsp] = frame.rsp;
  regs_.set_selectors(static_cast<std::uint16_t>(frame.cs | 3), static_cast<std::uint16_t>(frame.ss | 3));
  regs_.changed = true;
}

}  // namespace pinfold::vmm
