// Loads the vCPU's registers and system registers before an entry, and the entry stub if one is needed.
#include "vmm/domain.hpp"

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t cr0_ts = 1U << 3;

kvm_segment user_segment(std::uint16_t selector, std::uint8_t type) {
  kvm_segment s{};
  s.selector = selector;
  s.limit = 0xffffffff;
  s.type = type;
  s.present = 1;
  s.dpl = 3;
  s.s = 1;
  s.g = 1;
  return s;
}

}  // namespace

/// A VM entry fails if RIP is not canonical, or if it has more than 32 bits although CS is not a 64-bit
/// segment (Intel SDM vol. 3, 27.3.1.4). A guest can cause both, for example by a SYSCALL at the highest
/// address of the lower half. It gets what a processor does then: a fault, or the lower 32 bits of RIP.
/// (Selectors other than the flat ones are loaded by an IRETQ, which does the same.)
void GuestCpu::make_enterable(pvmmu::Held held) {
  if (!is_canonical(regs_.rip)) deliver(held, GuestException{13, 0, 0});
  if (regs_.cs == gate::code64 || regs_.rip >> 32 == 0 || !processor_loads_selectors() ||
      !flat_selectors(held) || is_64bit_code(held, regs_.cs))
    return;
  regs_.rip &= 0xffffffff;
  regs_.changed = true;
}

void GuestCpu::load(pvmmu::Held held) {
  if (stops_.arm_step(held)) regs_.changed = true;
  if (state_.debug.take_change()) [[unlikely]]
    load_debug_registers();
  if (regs_.changed || stubs_.under_way() || gate_link_.may_resume()) load_registers(held);
  const bool in_gate = gate_link_.may_resume();
  entered_through_ = in_gate ? "through the gate" : "directly";
  if (in_gate)
    resume_in_gate(held);
  else if (load_segments(held))
    vcpu_.mark_sregs_dirty();
  if (domain_.config().host.fast_paths)
    gate_link_.give(cr3_of(held, state_.kernel_root), cr3_of(held, state_.user_root), descriptors_.has_ldt());
  if (in_gate)
    stubs_.skip();
  else
    enter_through_stub(held);
  regs_.changed = false;
}

/// Before other registers than those at which the vCPU was stopped.
void GuestCpu::end_shadow() {
  if (!shadow_.end()) [[likely]]
    return;
  if (const auto ended = vcpu_.end_interrupt_shadow(); !ended)
    domain_.end(Ending::host_failure, ended.error().message);
}

void GuestCpu::load_registers(pvmmu::Held held) {
  end_shadow();
  kvm_regs& r = vcpu_.regs();
  const auto& g = regs_.gpr;
  r.rax = g[0], r.rcx = g[1], r.rdx = g[2], r.rbx = g[3], r.rsp = g[4], r.rbp = g[5], r.rsi = g[6],
  r.rdi = g[7];
  r.r8 = g[8], r.r9 = g[9], r.r10 = g[10], r.r11 = g[11], r.r12 = g[12], r.r13 = g[13], r.r14 = g[14],
  r.r15 = g[15];
  r.rip = regs_.rip;
  // These are the real flags: interrupts are enabled, whatever the guest's virtual flag says.
  r.rflags = (regs_.rflags & rflags::guests_own) | rflags::if_ | rflags::fixed;
  if (stops_.is_stepping() && steps_by_trap(held)) r.rflags |= rflags::tf;
  vcpu_.mark_regs_dirty();
}

std::uint64_t GuestCpu::cr3_of(pvmmu::Held held, Mfn root) {
  return root == no_mfn ? 0 : address_of(domain_.mmu().mirror_of_root(held, root)).raw();
}

/// Replaces the registers that were loaded by those of an entry stub, if one is needed. The stub ends with
/// the guest's own registers.
void GuestCpu::enter_through_stub(pvmmu::Held held) {
  // Where KVM shadows page tables, a stub is made for stale entries only. (It ends in an IRETQ as well.)
  const bool through_iret =
      !domain_.config().host.stale_entries && processor_loads_selectors() && !flat_selectors(held);
  std::optional<EntryStubs::Stub> stub;
  stubs_.prepare(held, stub, vcpu_.sregs().cr3, through_iret);
  if (!stub) return;
  end_shadow();
  domain_.gate().prepare_entry_stub(vcpu_, id_.raw(), stub->code, stub->leaves);
  entered_through_ = stub->leaves ? "through an entry stub that leaves" : "through an entry stub";
}

/// Sets KVM's system registers to what the guest's mode needs. True: one of them changed.
bool GuestCpu::load_segments(pvmmu::Held held) {
  kvm_sregs& s = vcpu_.sregs();
  bool changed = false;
  const auto set = [&changed](auto& field, auto value) {
    if (field == value) return;
    field = value;
    changed = true;
  };
  if (s.ss.dpl != 3 || s.cs.selector != regs_.cs || s.ss.selector != regs_.ss || s.cs.dpl != 3) {
    s.cs = user_segment(regs_.cs, 11);
    (is_64bit_code(held, regs_.cs) ? s.cs.l : s.cs.db) = 1;
    s.ss = user_segment(regs_.ss, 3);
    s.ss.db = 1;
    changed = true;
  }
  set(s.cr3, cr3_of(held, root()));
  domain_.flushes().duties().root_loaded(id_);
  return load_bases() || changed;
}

/// The same for registers that an IRETQ does not load: segment bases, virtual CR0.TS, CR4.TSD and
/// CR4.FSGSBASE.
bool GuestCpu::load_bases() {
  kvm_sregs& s = vcpu_.sregs();
  constexpr std::uint64_t guests = cr4::tsd | cr4::fsgsbase;
  const std::uint64_t cr4 = (s.cr4 & ~guests) | (state_.cr4 & guests);
  state_.cr4_changed = false;
  const std::uint64_t cr0 = state_.task_switched ? s.cr0 | cr0_ts : s.cr0 & ~cr0_ts;
  const std::uint64_t fs = bases_.fs(), gs = bases_.active_gs();
  if (s.fs.base == fs && s.gs.base == gs && s.cr0 == cr0 && s.cr4 == cr4) return false;
  s.fs.base = fs;
  s.gs.base = gs;
  s.cr0 = cr0;
  s.cr4 = cr4;
  return true;
}

bool GuestCpu::is_64bit_code(pvmmu::Held held, std::uint16_t selector) {
  constexpr std::uint64_t long_mode = 1ULL << 53;
  return (descriptors_.descriptor(held, selector) & long_mode) != 0;
}

bool GuestCpu::processor_loads_selectors() const { return !domain_.config().host.syscall_stays_at_cpl3; }

/// Do CS and SS name flat segments, as user_segment() makes them? For any other selector (of the guest's LDT,
/// or of no descriptor) only the processor itself can load the segment, or refuse it.
bool GuestCpu::flat_selectors(pvmmu::Held held) {
  if ((regs_.cs == gate::code64 || regs_.cs == gate::code32) && regs_.ss == gate::data3)
    return true;                                              // these descriptors are the monitor's
  constexpr std::uint64_t ignored = 1ULL << 40 | 1ULL << 52;  // accessed, available
  constexpr std::uint64_t code64 = 0x00affa000000ffffULL, code32 = 0x00cffa000000ffffULL,
                          data = 0x00cff2000000ffffULL;
  const std::uint64_t cs = descriptors_.descriptor(held, regs_.cs) & ~ignored;
  const std::uint64_t ss = descriptors_.descriptor(held, regs_.ss) & ~ignored;
  return (cs == code64 || cs == code32) && ss == data;
}

}  // namespace pinfold::vmm
