// Where the gate finishes in the VM what it can: what a vCPU and its gate tell each other at each entry and
// exit. The gate changes modes, GS bases, the kernel's stack and virtual CR0.TS without the monitor; between
// an exit and the next entry CpuState has them all. What comes out of the state page is bounded here: code in
// the VM wrote it.

#include <fmt/format.h>

#include <cstring>

#include "vmm/domain.hpp"
#include "vmm/hypercalls/hypercalls.hpp"
#include "vmm/msr_numbers.hpp"

namespace pinfold::vmm {
namespace {

using gate::GuestHandler;
using gate::StatePage;

constexpr std::uint64_t dr6_single_step = 0x4000;

std::uint64_t flags_of(bool masks_events) { return masks_events ? GuestHandler::masks_events : 0; }

}  // namespace

/// Of a port exit the processor has checked the privilege level, where CPL3 has no ports (Intel SDM vol. 1,
/// 19.5.2). Else it is SS.DPL in KVM's registers, whatever CS is (vol. 3, 24.4.1; AMD APM vol. 2, 15.5.1).
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

/// Was the vCPU interrupted while the gate was at work, with half of it done? Also where only the IRETQ is
/// left, if that has faulted and the exception waits.
bool GuestCpu::inside_gate(const RunResult& result) {
  if (!is_interruption(result)) return false;
  const auto at = gate_address();
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

/// Enters the guest. Interrupted inside the gate it lets that finish, which takes a few hundred instructions,
/// and has it come out then in place of going to the guest. As long as that takes the vCPU counts as one that
/// has not left.
RunResult GuestCpu::run_to_the_guests_own_exit() {
  RunResult result = run_vcpu();
  if (!domain_.config().host.fast_paths) return result;
  while (inside_gate(result) && !domain_.ended()) {
    ++interruptions_in_gate_;
    domain_.gate().set_state(id_.raw(), &StatePage::attention, 1);
    vcpu_.set_immediate_exit(false);
    result = run_vcpu();
  }
  return result;
}

void GuestCpu::take_from_gate() {
  const Gate& gate = domain_.gate();
  const auto field = [&](gate::StateField which) { return gate.state(id_.raw(), which); };
  state_.kernel_mode = field(&StatePage::kernel_mode) != 0;
  state_.kernel_sp = field(&StatePage::kernel_sp);
  state_.kernel_ss = static_cast<std::uint16_t>(field(&StatePage::kernel_ss));
  state_.task_switched = field(&StatePage::task_switched) != 0;
  if (field(&StatePage::single_stepped) != 0) state_.dr6 = (state_.dr6 & ~0xfULL) | dr6_single_step;
  if (field(&StatePage::gs_moved) != 0) bases_.forget_inactive();
  for (; interruptions_in_gate_ != 0; --interruptions_in_gate_)
    domain_.statistics().count(ExitReason::interrupted);
}

/// Where the last exception that left was a page fault: CR2. Of the gate's exits the gate tells it, which is
/// the VM's word like CR2 itself.
std::uint64_t GuestCpu::fault_address() {
  return left_by_gate_ ? domain_.gate().state(id_.raw(), &StatePage::fault_address) : vcpu_.sregs().cr2;
}

/// The bases that an instruction may use. Knowing them takes a system call, and without a byte that is the
/// prefix of FS or GS it uses none.
SegmentBases GuestCpu::bases_for(std::span<const std::byte> instruction) {
  constexpr int prefix_fs = 0x64, prefix_gs = 0x65;
  const auto has = [&](int byte) {
    return std::memchr(instruction.data(), byte, instruction.size()) != nullptr;
  };
  const bool may = has(prefix_fs) || has(prefix_gs);
  return may ? SegmentBases{bases_.fs(), bases_.active_gs()} : SegmentBases{};
}

/// On from where the gate left. Its system registers stay as they are, but for what the monitor changed:
/// IRETQ loads the guest's segments, and the gate another CR3 if it has to. Until then it runs on the mirror
/// that it left on, of which the guest may have given up the table: that does no harm before it is used
/// again.
void GuestCpu::resume_in_gate(pvmmu::Held held) {
  const Gate& gate = domain_.gate();
  const bool ts_differs = state_.task_switched != (gate.state(id_.raw(), &StatePage::task_switched) != 0);
  if ((bases_.knows_active() || ts_differs) && load_bases()) vcpu_.mark_sregs_dirty();
  std::optional<std::uint64_t> cr3 = address_of(domain_.mmu().mirror_of_root(held, root())).raw();
  if (domain_.flushes().duties().root_may_be_gone(id_)) {
    vcpu_.sregs().cr3 = *cr3;
    vcpu_.mark_sregs_dirty();
    domain_.flushes().duties().root_loaded(id_);
  }
  if (gate.state(id_.raw(), &StatePage::exit_cr3) == *cr3 && !domain_.flushes().duties().due(id_)) cr3.reset();
  if (cr3) domain_.flushes().duties().handed_over(id_);
  gate.resume(vcpu_, id_.raw(), cs_, ss_, cr3);
}

void GuestCpu::give_to_gate(pvmmu::Held held) {
  const Gate& gate = domain_.gate();
  const auto set = [&](gate::StateField field, std::uint64_t value) {
    gate.set_state(id_.raw(), field, value);
  };
  const auto mirror = [&](Mfn root) {
    return root == no_mfn ? 0 : address_of(domain_.mmu().mirror_of_root(held, root)).raw();
  };
  set(&StatePage::kernel_mode, state_.kernel_mode ? 1 : 0);
  set(&StatePage::kernel_sp, state_.kernel_sp);
  set(&StatePage::kernel_ss, state_.kernel_ss);
  set(&StatePage::task_switched, state_.task_switched ? 1 : 0);
  set(&StatePage::attention, 0);
  set(&StatePage::exit_cr3, 0);
  set(&StatePage::kernel_cr3, mirror(state_.kernel_root));
  set(&StatePage::user_cr3, mirror(state_.user_root));
  set(&StatePage::iopl, domain_.architectural_iopl ? std::uint64_t{state_.iopl} << 12 : 0);
  set(&StatePage::iopl_check, domain_.architectural_iopl ? rflags::iopl : 0);
  set(&StatePage::gs_moved, 0);
  set(&StatePage::single_stepped, 0);
  if (state_.handlers_changed) give_handlers_to_gate();
  bases_.give_inactive();
}

void GuestCpu::give_handlers_to_gate() {
  const Gate& gate = domain_.gate();
  const auto set = [&](gate::StateHandler which, const GuestHandler& handler) {
    gate.set_handler(id_.raw(), which, handler);
  };
  set(&StatePage::syscall,
      {state_.syscall.address, flags_of(state_.syscall.masks_events) | GuestHandler::clears_df});
  set(&StatePage::event, {state_.event.address, GuestHandler::masks_events});
  for (std::size_t vector = 0; vector < gate::exceptions; ++vector) {
    const Trap& trap = state_.traps[vector];
    set({&StatePage::traps, vector}, {trap.address, flags_of(trap.masks_events)});
  }
  gate.set_state(id_.raw(), &StatePage::version, hypercalls::version);
  state_.handlers_changed = false;
}

void GuestCpu::on_fast_exit(pvmmu::DomainLock& lock, GateExit why) {
  const Gate& gate = domain_.gate();
  left_by_gate_ = why != GateExit::none && why != GateExit::broken;
  switch (why) {
    case GateExit::syscall:
      capture();
      regs_[Gpr::rsp] = gate.state(id_.raw(), &StatePage::guest_rsp);
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
      return on_fault_of_return(
          lock, GuestException{static_cast<std::uint8_t>(gate.state(id_.raw(), &StatePage::refused_vector) %
                                                         gate::exceptions),
                               gate.state(id_.raw(), &StatePage::refused_error), vcpu_.sregs().cr2});
    case GateExit::none: break;
  }
  capture();
  if (end_if_gate_is_lost(lock)) return;
  domain_.end(Ending::host_failure,
              "the gate left at an address that it does not leave at\n" + describe(lock));
}

/// The guest's registers, when the gate had only the IRETQ before it.
void GuestCpu::capture_return() {
  capture();
  const ExceptionFrame frame = domain_.gate().exception_frame(id_.raw(), vcpu_.regs().rsp, false);
  regs_.rip = frame.rip;
  regs_.rflags = frame.rflags;
  regs_[Gpr::rsp] = frame.rsp;
  set_selectors(static_cast<std::uint16_t>(frame.cs | 3), static_cast<std::uint16_t>(frame.ss | 3));
  registers_changed_ = true;
}

}  // namespace pinfold::vmm
