#include "vmm/host/probe.hpp"

#include <x86intrin.h>

#include <bit>
#include <fstream>
#include <optional>
#include <string>

#include "pvmmu/pte.hpp"
#include "vmm/cpu/debug_registers.hpp"
#include "vmm/cpuid_native.hpp"
#include "vmm/host/probe_guest.hpp"
#include "vmm/msr_numbers.hpp"
#include "vmm/registers.hpp"
#include "vmm/vectors.hpp"

namespace pinfold::vmm {
namespace {

using Kind = ProbeOutcome::Kind;

constexpr std::uint64_t a_value = 0xaaaa, b_value = 0xbbbb, c_value = 0xcccc;
constexpr std::uint64_t slot_256 = 0xffff800000000000;
constexpr unsigned vector_bp = 3, vector_ud = 6, vector_nm = 7, vector_gp = 13, vector_int_80 = 0x80;
constexpr std::uint64_t cr0_ts = 1U << 3;

ProbeOutcome load(ProbeGuest& guest, std::uint64_t from) { return guest.user(pinfold_probe_load, from); }

/// Does the guest still use an entry that the monitor replaced, although CPL0 code flushed it with INVLPG?
bool replaced_entry_is_stale(ProbeGuest& guest) {
  guest.set_word(ProbeGuest::data_a, a_value);
  guest.set_word(ProbeGuest::data_b, b_value);
  (void)load(guest, ProbeGuest::replaced);
  guest.map_replaced(ProbeGuest::data_b);
  (void)guest.supervisor(pinfold_probe_invlpg, ProbeGuest::replaced);
  const auto second = load(guest, ProbeGuest::replaced);
  return !second.done() || second.rax != b_value;
}

bool syscall_is_a_window_exit(ProbeGuest& guest) {
  guest.vcpu().shared().request_interrupt_window = 1;
  ProbeOutcome outcome = guest.user(pinfold_probe_syscall);
  // KVM also exits when it fills in a page on the way. RIP is then still at the SYSCALL.
  for (int i = 0; i < 4 && outcome.kind == Kind::window && outcome.rip != ProbeGuest::lstar; ++i) {
    outcome = guest.resume();
  }
  guest.vcpu().shared().request_interrupt_window = 0;
  return outcome.kind == Kind::window && outcome.rip == ProbeGuest::lstar && outcome.cpl == 3;
}

void probe_syscall(ProbeGuest& guest, HostFacts& facts) {
  const auto outcome = guest.user(pinfold_probe_syscall);
  facts.syscall_stays_at_cpl3 = outcome.done() && outcome.cpl == 3;
  facts.out_7e_completes = outcome.done() && outcome.rip == ProbeGuest::lstar + 2;
  facts.window_exit_at_syscall = facts.syscall_stays_at_cpl3 && syscall_is_a_window_exit(guest);
}

/// Does a store fail while page C is read-only in the view, and succeed afterwards? `told`: did
/// KVM report the address?
bool store_is_refused(ProbeGuest& guest, bool& told) {
  guest.set_word(ProbeGuest::data_c, 0);
  if (!guest.view().protect(Mfn(ProbeGuest::data_c))) return false;
  const auto refused = guest.user(pinfold_probe_store, ProbeGuest::fixed, c_value);
  told = guest.vcpu().shared().exit_reason == abi::exit_memory_fault;
  const bool untouched = guest.word(ProbeGuest::data_c) == 0;
  guest.view().unprotect(Mfn(ProbeGuest::data_c));
  if (refused.kind != Kind::host_fault || !untouched) return false;
  return guest.resume().done() && guest.word(ProbeGuest::data_c) == c_value;
}

/// Does a load fail while page C is absent from the view, and succeed once it is back?
bool absence_is_refused(ProbeGuest& guest) {
  guest.view().revoke(Mfn(ProbeGuest::data_c));
  const auto refused = load(guest, ProbeGuest::fixed);
  guest.view().grant(Mfn(ProbeGuest::data_c), 1);
  guest.set_word(ProbeGuest::data_c, c_value);  // a frame that was revoked is empty
  if (refused.kind != Kind::host_fault) return false;
  const auto resumed = guest.resume();
  return resumed.done() && resumed.rax == c_value;
}

/// Makes a guest with the better protection that works, and records in `facts` which does. Making a guest
/// takes most of a probe's time, so a second one is made only if the first one's protection fails.
KvmResult<ProbeGuest> protected_guest(const Kvm& kvm, HostFacts& facts) {
  if (auto guest = ProbeGuest::create(kvm, WriteProtection::userfaultfd)) {
    facts.userfaultfd_protects = store_is_refused(*guest, facts.memory_fault_info);
    if (facts.userfaultfd_protects) {
      facts.mprotect_protects = absence_is_refused(*guest);
      return guest;
    }
  }
  auto guest = ProbeGuest::create(kvm, WriteProtection::mprotect);
  if (guest) {
    facts.mprotect_protects = store_is_refused(*guest, facts.memory_fault_info) && absence_is_refused(*guest);
  }
  return guest;
}

/// Does this store to page C fail in the host, and change nothing?
bool is_refused_store(ProbeGuest& guest, const ProbeOutcome& store, std::uint64_t before) {
  return store.kind == Kind::host_fault && guest.word(ProbeGuest::data_c) == before;
}

ProbeOutcome store_by_window(ProbeGuest& guest, std::uint64_t value) {
  return guest.supervisor(pinfold_probe_supervisor_store, ProbeGuest::window, value);
}

/// Page C is read-only in the view. Can it always be read through its window, and be changed there, and only
/// there, exactly while the window is open?
bool stores_follow_the_window(ProbeGuest& guest) {
  const Mfn page(ProbeGuest::data_c);
  guest.set_word(ProbeGuest::data_c, a_value);
  const auto read = guest.supervisor(pinfold_probe_supervisor_load, ProbeGuest::window);
  if (!read.done() || read.rax != a_value) return false;
  if (!is_refused_store(guest, store_by_window(guest, b_value), a_value)) return false;
  if (!guest.view().open_window(page) || !guest.resume().done()) return false;
  const auto seen = load(guest, ProbeGuest::fixed);
  const auto beside = guest.user(pinfold_probe_store, ProbeGuest::fixed, c_value);
  const bool open_there_alone =
      seen.done() && seen.rax == b_value && is_refused_store(guest, beside, b_value);
  return guest.view().close_window(page) && open_there_alone &&
         is_refused_store(guest, store_by_window(guest, c_value), b_value);
}

bool windows_work(ProbeGuest& guest) {
  const Mfn page(ProbeGuest::data_c);
  if (!guest.view().protect(page)) return false;
  const bool work = stores_follow_the_window(guest);
  guest.view().unprotect(page);
  return work;
}

/// Can page C be read in the slot with KVM_MEM_READONLY, and a store there changes nothing, also when KVM has
/// completed it?
bool read_only_slot_works(ProbeGuest& guest) {
  guest.set_word(ProbeGuest::data_c, a_value);
  const auto read = guest.supervisor(pinfold_probe_supervisor_load, ProbeGuest::record);
  if (!read.done() || read.rax != a_value) return false;
  const auto store = guest.supervisor(pinfold_probe_supervisor_store, ProbeGuest::record, b_value);
  return store.kind == Kind::mmio_store && guest.resume().done() && guest.word(ProbeGuest::data_c) == a_value;
}

bool second_slots_work(ProbeGuest& guest) {
  return guest.add_second_slots() && windows_work(guest) && read_only_slot_works(guest);
}

bool tsc_offset_works(ProbeGuest& guest) {
  constexpr std::uint64_t offset = 1ULL << 50;
  if (!guest.vcpu().set_tsc_offset(offset)) return false;
  const std::uint64_t host = __rdtsc();
  const auto outcome = guest.user(pinfold_probe_rdtsc);
  return outcome.done() && outcome.rax - host >= offset && outcome.rax - host < offset + offset / 2;
}

bool cpuid_intercepted(ProbeGuest& guest) {
  const auto outcome = guest.user(pinfold_probe_cpuid, 0, 0x40000000);
  return outcome.done() && static_cast<std::uint32_t>(outcome.rbx) == ProbeGuest::cpuid_mark;
}

bool is_exception(const ProbeOutcome& outcome, unsigned vector) {
  return outcome.kind == Kind::exception && outcome.vector == vector;
}

bool closed_port_faults(ProbeGuest& guest) {
  for (const unsigned char* piece : {pinfold_probe_closed_out, pinfold_probe_closed_in,
                                     pinfold_probe_closed_ins, pinfold_probe_closed_outs})
    if (!is_exception(guest.user(piece, ProbeGuest::fixed), vector_gp)) return false;
  return true;
}

/// After an exit by IN at CPL0, KVM is made to finish it. Does other code then run undisturbed?
bool access_is_finished_on_request(ProbeGuest& guest) {
  (void)guest.supervisor(pinfold_probe_in_7e);
  const kvm_run& run = guest.vcpu().shared();
  if (run.exit_reason != KVM_EXIT_IO || run.io.direction != KVM_EXIT_IO_IN) return false;
  if (!guest.vcpu().access_pending() || !guest.vcpu().finish_access()) return false;
  guest.set_word(ProbeGuest::data_c, c_value);
  const auto next = load(guest, ProbeGuest::fixed);
  return next.done() && next.rax == c_value;
}

/// Queues exceptions in KVM and calls KVM_RUN with immediate_exit, so no guest code runs.
bool tells_if_interruptible(ProbeGuest& guest) {
  Vcpu& vcpu = guest.vcpu();
  const auto interruptible_with = [&](unsigned vector) {
    auto events = vcpu.events();
    if (!events) return std::optional<bool>();
    events->exception = {};
    events->exception.injected = vector != 0 ? 1 : 0;
    events->exception.nr = static_cast<std::uint8_t>(vector);
    events->exception.has_error_code = vector == vector_gp ? 1 : 0;
    if (!vcpu.set_events(*events)) return std::optional<bool>();
    vcpu.set_immediate_exit(true);
    (void)vcpu.run();
    vcpu.set_immediate_exit(false);
    return std::optional(vcpu.interruptible());
  };
  constexpr std::uint64_t rflags_if = 0x202;
  vcpu.regs().rflags = rflags_if;
  vcpu.mark_regs_dirty();
  bool right = interruptible_with(0) == true;
  for (const unsigned vector : {vector_bp, vector_gp})
    right = interruptible_with(vector) == false && interruptible_with(0) == true && right;
  return right;
}

/// Does a store that DR3 watches raise a #DB behind it that says so?
bool debug_registers_act(ProbeGuest& guest) {
  constexpr std::uint64_t enabled = 1U << 6, on_store_of_8_bytes = 9ULL << 28;
  kvm_debugregs watching{};
  watching.db[3] = ProbeGuest::fixed;
  watching.dr6 = dr6::initial;
  watching.dr7 = dr7::initial | enabled | on_store_of_8_bytes;
  kvm_debugregs off{};
  off.dr6 = dr6::initial;
  off.dr7 = dr7::initial;
  if (!guest.vcpu().set_debug_registers(watching)) return false;
  const auto hit = guest.user(pinfold_probe_store, ProbeGuest::fixed, b_value);
  const auto after = guest.vcpu().debug_registers();
  if (!guest.vcpu().set_debug_registers(off) || !after) return false;
  return is_exception(hit, vector::db) && (after->dr6 & dr6::breakpoints) == 8 &&
         guest.word(ProbeGuest::data_c) == b_value;
}

bool time_stamp_disable_works(ProbeGuest& guest) {
  guest.vcpu().sregs().cr4 |= cr4::tsd;
  const bool refused = is_exception(guest.user(pinfold_probe_rdtsc), vector_gp);
  guest.vcpu().sregs().cr4 &= ~cr4::tsd;
  return refused;
}

/// The base is one that the guest's FS does not have otherwise. GS is as FS.
bool fsgsbase_works(ProbeGuest& guest) {
  constexpr std::uint64_t base = 0x123456789000;
  const auto swap = [&] { return guest.user(pinfold_probe_fsgsbase, base); };
  if (!is_exception(swap(), vector_ud)) return false;
  guest.vcpu().sregs().cr4 |= cr4::fsgsbase;
  const auto done = swap();
  const bool told = guest.vcpu().sregs().fs.base == base;
  guest.vcpu().sregs().cr4 &= ~cr4::fsgsbase;
  return done.done() && done.rax == base && told;
}

/// Has to be the last probe, because CR0.TS stays set.
bool task_switched_flag_works(ProbeGuest& guest) {
  guest.vcpu().sregs().cr0 |= cr0_ts;
  return is_exception(guest.user(pinfold_probe_sse), vector_nm);
}

bool tsc_invariant() {
  std::string clock;
  std::ifstream("/sys/devices/system/clocksource/clocksource0/current_clocksource") >> clock;
  constexpr std::uint32_t invariant = 1U << 8;
  return clock == "tsc" || (native_cpuid()(0x80000007, 0).edx & invariant) != 0;
}

std::uint32_t address_bits() {
  constexpr std::uint32_t extended = 0x80000000, sizes = 0x80000008;
  return native_cpuid()(extended, 0).eax >= sizes ? native_cpuid()(sizes, 0).eax & 0xff : 36;
}

}  // namespace

KvmResult<HostFacts> probe(const Kvm& kvm) {
  HostFacts facts;
  auto guest = protected_guest(kvm, facts);
  if (!guest) return tl::unexpected(guest.error());
  guest->set_word(ProbeGuest::data_c, c_value);
  if (const auto first = load(*guest, ProbeGuest::fixed); !first.done() || first.rax != c_value) {
    return tl::unexpected(KvmError{KvmError::Kind::unusable, 0, "KVM does not run 64-bit code at CPL3"});
  }
  facts.stale_entries = replaced_entry_is_stale(*guest);
  probe_syscall(*guest, facts);
  guest->set_word(ProbeGuest::data_c, c_value);
  const auto high = load(*guest, slot_256 + ProbeGuest::fixed);
  facts.slot_256_at_cpl3 = high.done() && high.rax == c_value;
  facts.int_n_through_idt = is_exception(guest->user(pinfold_probe_int_80), vector_int_80);
  facts.cpuid_intercepted = cpuid_intercepted(*guest);
  facts.closed_port_faults = closed_port_faults(*guest);
  facts.access_is_finished_on_request = access_is_finished_on_request(*guest);
  facts.tells_if_interruptible = tells_if_interruptible(*guest);
  facts.second_slots_work = !facts.shadow_paging() && second_slots_work(*guest);
  facts.debug_registers_act = debug_registers_act(*guest);
  facts.fsgsbase_works = fsgsbase_works(*guest);
  facts.time_stamp_disable_works = time_stamp_disable_works(*guest);
  facts.tsc_offset_works = tsc_offset_works(*guest);
  facts.task_switched_flag_works = task_switched_flag_works(*guest);
  facts.tsc_khz = guest->vcpu().tsc_khz().value_or(0);
  facts.tsc_invariant = tsc_invariant();
  facts.address_bits = address_bits();
  facts.microcode_revision = kvm.host_msr(msr::microcode_revision).value_or(0);
  facts.in_kernel_irqchip = kvm.extension(KVM_CAP_IRQCHIP) > 0;
  facts.tsc_deadline_timer = kvm.extension(KVM_CAP_TSC_DEADLINE_TIMER) > 0;
  facts.max_map_count = max_map_count();
  return facts;
}

namespace {
/// The windows of the machine's frames follow the monitor's pages.
constexpr std::uint32_t address_bits_of_resident = 40;
}  // namespace

HostTraits traits_of(const HostFacts& facts) {
  HostTraits traits;
  traits.syscall_stays_at_cpl3 = facts.syscall_stays_at_cpl3;
  traits.leaves_at_syscall = facts.window_exit_at_syscall;
  traits.tells_if_interruptible = facts.tells_if_interruptible;
  traits.stale_entries = facts.stale_entries;
  traits.slot_256_usable = facts.slot_256_at_cpl3;
  traits.native_cpuid = !facts.cpuid_intercepted;
  traits.tsc_invariant = facts.tsc_invariant;
  traits.debug_registers = facts.debug_registers_act;
  traits.fast_paths = !facts.syscall_stays_at_cpl3 && !facts.shadow_paging();
  traits.resident = traits.fast_paths && !traits.stale_entries && facts.second_slots_work &&
                    facts.address_bits >= address_bits_of_resident;
  traits.fsgsbase = facts.fsgsbase_works && traits.fast_paths;
  traits.microcode_revision = facts.microcode_revision;
  traits.protection = facts.userfaultfd_protects ? WriteProtection::userfaultfd : WriteProtection::mprotect;
  traits.max_map_count = facts.max_map_count;
  return traits;
}

namespace {
constexpr std::uint32_t address_bits_of_machine =
    std::bit_width(address_of(pvmmu::first_monitor_frame).raw()) - 1;
}  // namespace

const char* objection_to(const HostFacts& facts) {
  if (!facts.mprotect_protects)
    return "KVM lets the guest touch pages that are kept from it: no isolation here";
  if (!facts.out_7e_completes) return "KVM does not finish an OUT to port 0x7e before it leaves the guest";
  if (!facts.closed_port_faults) return "KVM lets programs use ports that the processor keeps from them";
  if (!facts.access_is_finished_on_request)
    return "KVM does not finish a port access before the guest is entered again";
  if (facts.syscall_stays_at_cpl3 && !facts.tells_if_interruptible)
    return "KVM does not tell whether a breakpoint of the guest's waits to be delivered";
  if (facts.syscall_stays_at_cpl3 && !facts.stale_entries)
    return "SYSCALL stays at CPL3 although the processor walks the page tables: no kind of KVM that is known "
           "here";
  if (!facts.syscall_stays_at_cpl3 && facts.stale_entries)
    return "KVM shadows page tables although SYSCALL enters CPL0: no kind of KVM that was tried";
  if (facts.address_bits <= address_bits_of_machine)
    return "the processor's physical addresses have fewer than 39 bits: no room for what is the monitor's";
  if (facts.tsc_khz == 0) return "KVM does not tell the TSC's frequency: the guest's clock could not run";
  return nullptr;
}

}  // namespace pinfold::vmm
