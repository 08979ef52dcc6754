// Into the guest: the vCPU's registers and system registers, and the pass that the way may lead through.
#include <unordered_map>

#include "pvmmu/entry_rules.hpp"
#include "vmm/domain.hpp"

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t cr0_ts = 1U << 3;

/// So many stale entries of one table cost more than making KVM forget the table and build it anew.
constexpr std::size_t worth_a_table = 16;

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

/// A VM entry fails where the code's address is not canonical, or has more than 32 bits although CS is not a
/// 64-bit segment (Intel SDM vol. 3, 27.3.1.4). A guest can ask for either, by a SYSCALL that ends at the
/// highest address of the lower half for one. It gets what a processor would do: a fault, or the lower 32
/// bits. (Other selectors than the flat ones are loaded by an IRETQ, which sees to it.)
void GuestCpu::make_enterable(pvmmu::Held held) {
  if (!is_canonical(regs_.rip)) deliver(held, GuestException{13, 0, 0});
  if (cs_ == gate::code64 || regs_.rip >> 32 == 0 || !processor_loads_selectors() || !flat_selectors(held) ||
      is_64bit_code(held, cs_))
    return;
  regs_.rip &= 0xffffffff;
  registers_changed_ = true;
}

void GuestCpu::load(pvmmu::Held held) {
  kvm_regs& r = vcpu_.regs();
  if (stops_.arm_step(held)) registers_changed_ = true;
  if (registers_changed_ || pass_under_way_ || left_by_gate_) {
    const auto& g = regs_.gpr;
    r.rax = g[0], r.rcx = g[1], r.rdx = g[2], r.rbx = g[3], r.rsp = g[4], r.rbp = g[5], r.rsi = g[6],
    r.rdi = g[7];
    r.r8 = g[8], r.r9 = g[9], r.r10 = g[10], r.r11 = g[11], r.r12 = g[12], r.r13 = g[13], r.r14 = g[14],
    r.r15 = g[15];
    r.rip = regs_.rip;
    // The real flags: interrupts are on, whatever the guest believes.
    r.rflags = (regs_.rflags & rflags::guests_own) | rflags::if_ | rflags::fixed;
    if (stops_.is_stepping() && steps_by_trap(held)) r.rflags |= rflags::tf;
    vcpu_.mark_regs_dirty();
  }
  const bool in_gate = left_by_gate_;
  entered_through_ = in_gate ? "through the gate" : "directly";
  if (in_gate)
    resume_in_gate(held);
  else if (load_segments(held))
    vcpu_.mark_sregs_dirty();
  if (domain_.config().host.fast_paths) give_to_gate(held);
  more_passes_ = !in_gate && prepare_pass(held);
  registers_changed_ = false;
}

/// Brings KVM's system registers to what the guest's mode needs; did any differ?
bool GuestCpu::load_segments(pvmmu::Held held) {
  kvm_sregs& s = vcpu_.sregs();
  bool changed = false;
  const auto set = [&changed](auto& field, auto value) {
    if (field == value) return;
    field = value;
    changed = true;
  };
  if (s.ss.dpl != 3 || s.cs.selector != cs_ || s.ss.selector != ss_ || s.cs.dpl != 3) {
    s.cs = user_segment(cs_, 11);
    (is_64bit_code(held, cs_) ? s.cs.l : s.cs.db) = 1;
    s.ss = user_segment(ss_, 3);
    s.ss.db = 1;
    changed = true;
  }
  set(s.cr3, address_of(domain_.mmu().mirror_of_root(held, root())).raw());
  domain_.flushes().duties().root_loaded(id_);
  return load_bases() || changed;
}

/// The same for what no IRETQ loads: segment bases and virtual CR0.TS.
bool GuestCpu::load_bases() {
  kvm_sregs& s = vcpu_.sregs();
  const std::uint64_t cr0 = state_.task_switched ? s.cr0 | cr0_ts : s.cr0 & ~cr0_ts;
  const std::uint64_t fs = bases_.fs(), gs = bases_.active_gs();
  if (s.fs.base == fs && s.gs.base == gs && s.cr0 == cr0) return false;
  s.fs.base = fs;
  s.gs.base = gs;
  s.cr0 = cr0;
  return true;
}

bool GuestCpu::is_64bit_code(pvmmu::Held held, std::uint16_t selector) {
  constexpr std::uint64_t long_mode = 1ULL << 53;
  return (descriptors_.descriptor(held, selector) & long_mode) != 0;
}

bool GuestCpu::processor_loads_selectors() const { return !domain_.config().host.syscall_stays_at_cpl3; }

/// Are CS and SS what user_segment makes of them? Else (a segment of the guest's LDT, a selector of nothing)
/// only the processor itself can load them, or refuse to.
bool GuestCpu::flat_selectors(pvmmu::Held held) {
  if ((cs_ == gate::code64 || cs_ == gate::code32) && ss_ == gate::data3)
    return true;                                              // no guest's to change
  constexpr std::uint64_t ignored = 1ULL << 40 | 1ULL << 52;  // accessed, available
  constexpr std::uint64_t code64 = 0x00affa000000ffffULL, code32 = 0x00cffa000000ffffULL,
                          data = 0x00cff2000000ffffULL;
  const std::uint64_t cs = descriptors_.descriptor(held, cs_) & ~ignored;
  const std::uint64_t ss = descriptors_.descriptor(held, ss_) & ~ignored;
  return (cs == code64 || cs == code32) && ss == data;
}

/// Writes the code that makes KVM forget the first entries of the log, as many as a pass takes; returns the
/// number of the first entry that is left.
std::uint64_t GuestCpu::refresh_stale_entries(EntryStub& code) const {
  const pvmmu::StaleLog& stale = domain_.stale();
  const pvmmu::MirrorArena& mirrors = domain_.mmu().mirrors();
  std::unordered_map<pvmmu::MirrorId, std::size_t> per_table;
  for (const auto& entry : stale.entries()) per_table[entry.table] += entry.whole_table ? worth_a_table : 1;
  std::uint64_t number = stale.first();
  for (const auto& entry : stale.entries()) {
    if (code.full()) break;
    ++number;
    const Mfn frame = mirrors.frame(entry.table);
    std::size_t& left = per_table[entry.table];
    if (left == 0) continue;  // the whole table was dropped already
    if (left >= worth_a_table) {
      code.rewrite_word(domain_.gate().arena_address(frame, 0));
      left = 0;
    } else if (pvmmu::narrows(entry.before, mirrors.load(entry.table, entry.slot))) {
      code.rewrite(domain_.gate().arena_address(frame, entry.slot * 8U));
    }
  }
  return number;
}

bool GuestCpu::prepare_pass(pvmmu::Held held) {
  pass_under_way_ = false;
  return domain_.config().host.stale_entries ? prepare_refreshing(held) : prepare_flush(held);
}

/// The log is a TLB's twin: it is drained when the guest, or the validator for it, asks for a flush. What one
/// vCPU makes KVM forget is forgotten for all. True if a part is left for another pass.
bool GuestCpu::prepare_refreshing(pvmmu::Held held) {
  const pvmmu::StaleLog& stale = domain_.stale();
  FlushDuties& flushes = domain_.flushes().duties();
  if (!flushes.due(id_) && !stale.wants_draining()) return false;
  if (stale.empty()) {
    flushes.handed_over(id_);
    return false;
  }
  EntryStub code;
  settles_below_ = refresh_stale_entries(code);
  const bool more = settles_below_ != stale.end();
  if (code.empty()) {  // everything is back as it was
    domain_.mmu().stale_entries_settled(held, settles_below_);
    if (!more) flushes.handed_over(id_);
    return false;
  }
  domain_.statistics().entry_stub_steps += settles_below_ - stale.first();
  begin_pass(code, more);
  flushes.handed_over(id_);
  if (more) flushes.request(id_);
  return more;
}

/// A flush of the TLB, or selectors that only an IRETQ loads.
bool GuestCpu::prepare_flush(pvmmu::Held held) {
  const bool through_iret = processor_loads_selectors() && !flat_selectors(held);
  FlushDuties& flushes = domain_.flushes().duties();
  if (!flushes.due(id_) && !through_iret) return false;
  EntryStub code;
  code.reload_cr3(vcpu_.sregs().cr3);
  if (code.drops_translations()) flushes.handed_over(id_);
  begin_pass(code, false);
  return false;
}

/// `leaves`: the pass does not lead to guest code, but back here.
void GuestCpu::begin_pass(const EntryStub& code, bool leaves) {
  ++domain_.statistics().entry_stubs;
  domain_.gate().prepare_entry_stub(vcpu_, id_.raw(), code, leaves);
  entered_through_ = leaves ? "through a pass that leaves" : "through a pass";
  pass_under_way_ = true;
}

}  // namespace pinfold::vmm
