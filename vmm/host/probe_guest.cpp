#include "vmm/host/probe_guest.hpp"

#include <array>
#include <cerrno>
#include <cstring>

#include "vmm/msr_numbers.hpp"
#include "vmm/vectors.hpp"

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t page_bytes = page_size;
constexpr std::uint64_t frames = 32;

// Guest-physical pages.
constexpr std::size_t l4 = 1, user_l3 = 2, user_l2 = 3, user_l1 = 4;
constexpr std::size_t supervisor_l3 = 5, supervisor_l2 = 6, supervisor_l1 = 7;
constexpr std::size_t gdt = 8, idt = 9, tss = 10, stack = 11, user_code = 16, supervisor_code = 17;

/// L4 slot 262: all of the probe's memory, for CPL0; behind it, its second slots.
constexpr std::uint64_t supervisor_base = 0xffff830000000000;
constexpr std::uint64_t supervisor_entry = supervisor_base + supervisor_code * page_bytes;

/// Guest-physical addresses of the second slots.
constexpr std::uint64_t windows_gpa = 1ULL << 30, record_gpa = 2ULL << 30;

// Page-table entry bits (Intel SDM vol. 3, 4.5).
constexpr std::uint64_t present = 1, writable = 2, user_bit = 4;

constexpr std::uint16_t kernel_cs = 0x08, kernel_ss = 0x10, user_cs = 0x33, user_ss = 0x2b,
                        tss_selector = 0x40;
constexpr std::size_t tss_bytes = 104;
/// Bytes of the I/O map that open the ports before the closed one.
constexpr std::size_t open_ports_bytes = ProbeGuest::closed_port / 8;

kvm_segment segment(std::uint16_t selector, std::uint8_t type, std::uint8_t dpl, bool code) {
  kvm_segment s{};
  s.selector = selector;
  s.limit = 0xffffffff;
  s.type = type;
  s.present = 1;
  s.dpl = dpl;
  s.s = 1;
  s.g = 1;
  s.l = code ? 1 : 0;
  s.db = code ? 0 : 1;
  return s;
}

kvm_segment null_segment() {
  kvm_segment s{};
  s.unusable = 1;
  return s;
}

/// The least that a 64-bit guest needs: long mode, NX, SYSCALL and 39 address bits; and the probe's own mark.
/// Without FSGSBASE KVM takes no CR4 that has it.
std::array<kvm_cpuid_entry2, 6> probe_cpuid() {
  std::array<kvm_cpuid_entry2, 6> leaves{};
  leaves[0].function = 0;
  leaves[0].eax = 7;
  leaves[1].function = 1;
  leaves[1].edx = 0x078bfbff;  // the baseline of x86-64: FPU to SSE2
  leaves[2].function = 0x40000000;
  leaves[2].eax = 0x40000000;
  leaves[2].ebx = ProbeGuest::cpuid_mark;
  leaves[3].function = 0x80000001;
  leaves[3].edx = (1U << 29) | (1U << 20) | (1U << 11);
  leaves[4].function = 0x80000008;
  leaves[4].eax = 0x3027;
  leaves[5].function = 7;
  leaves[5].flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
  leaves[5].ebx = 1;  // FSGSBASE
  return leaves;
}

ProbeOutcome outcome_of(Vcpu& vcpu, const RunResult& result) {
  ProbeOutcome outcome;
  outcome.rip = vcpu.regs().rip;
  outcome.rax = vcpu.regs().rax;
  outcome.rbx = vcpu.regs().rbx;
  outcome.cpl = vcpu.sregs().ss.dpl;
  if (result.kind == RunResult::Kind::failed && result.error == EFAULT) {
    outcome.kind = ProbeOutcome::Kind::host_fault;
  } else if (result.kind == RunResult::Kind::exited) {
    const auto& run = vcpu.shared();
    if (run.exit_reason == KVM_EXIT_IRQ_WINDOW_OPEN) outcome.kind = ProbeOutcome::Kind::window;
    if (run.exit_reason == KVM_EXIT_MMIO && run.mmio.is_write != 0)
      outcome.kind = ProbeOutcome::Kind::mmio_store;
    if (run.exit_reason == KVM_EXIT_IO && run.io.port == exit_port) {
      const std::uint64_t stub = (outcome.rip - supervisor_entry) / ProbeGuest::stub_size;
      const bool exception = stub < ProbeGuest::vectors && stub != vector::bp;
      outcome.kind = exception ? ProbeOutcome::Kind::exception : ProbeOutcome::Kind::done;
      outcome.vector = exception ? static_cast<unsigned>(stub) : 0;
    }
  }
  return outcome;
}

}  // namespace

KvmResult<ProbeGuest> ProbeGuest::create(const Kvm& kvm, WriteProtection how) {
  const auto no_memory = [](const MemoryError& e) {
    return tl::unexpected(KvmError{KvmError::Kind::failed, 0, e.message});
  };
  auto machine = Machine::create(frames);
  if (!machine) return no_memory(machine.error());
  auto view = View::create(**machine, how, true);
  if (!view) return no_memory(view.error());
  (*view)->grant(Mfn(0), frames);
  auto vm = kvm.create_vm();
  if (!vm) return tl::unexpected(vm.error());
  if (auto set = vm->set_memory(0, 0, (*view)->size(), (*view)->base()); !set)
    return tl::unexpected(set.error());
  auto vcpu = vm->create_vcpu(0);
  if (!vcpu) return tl::unexpected(vcpu.error());
  ProbeGuest guest(std::move(*machine), std::move(*view), std::move(*vm), std::move(*vcpu));
  guest.build_tables();
  guest.build_descriptors();
  if (auto built = guest.build_registers(); !built) return tl::unexpected(built.error());
  return guest;
}

KvmResult<void> ProbeGuest::add_second_slots() {
  if (auto set = vm_.set_memory(1, windows_gpa, view_->size(), view_->windows()); !set) return set;
  std::byte* const page_c = machine_->pages().page(data_c);
  if (auto set = vm_.set_memory(2, record_gpa, page_bytes, page_c, KVM_MEM_READONLY); !set) return set;
  const auto map = [&](std::uint64_t va, std::uint64_t gpa) {
    put(supervisor_l1, (va - supervisor_base) / page_bytes * 8, gpa | present | writable);
  };
  map(window, windows_gpa + data_c * page_bytes);
  map(record, record_gpa);
  return {};
}

void ProbeGuest::put(std::size_t page, std::size_t offset, std::uint64_t value) {
  std::memcpy(machine_->pages().page(page) + offset, &value, sizeof value);
}

std::uint64_t ProbeGuest::word(std::size_t page) const { return machine_->pages().load(page, 0); }

void ProbeGuest::set_word(std::size_t page, std::uint64_t value) { put(page, 0, value); }

void ProbeGuest::map_replaced(std::size_t page) {
  put(user_l1, 8, page * page_bytes | present | writable | user_bit);
}

void ProbeGuest::build_tables() {
  constexpr std::uint64_t open = present | writable | user_bit, closed = present | writable;
  put(l4, 0, user_l3 * page_bytes | open);
  put(l4, 256 * 8, user_l3 * page_bytes | open);
  put(user_l3, 0, user_l2 * page_bytes | open);
  put(user_l2, 2 * 8, user_l1 * page_bytes | open);
  put(user_l1, 0, user_code * page_bytes | open);
  map_replaced(data_a);
  put(user_l1, 2 * 8, data_c * page_bytes | open);
  put(l4, 262 * 8, supervisor_l3 * page_bytes | closed);
  put(supervisor_l3, 0, supervisor_l2 * page_bytes | closed);
  put(supervisor_l2, 0, supervisor_l1 * page_bytes | closed);
  for (std::size_t i = 0; i < frames; ++i) put(supervisor_l1, i * 8, i * page_bytes | closed);
}

void ProbeGuest::build_descriptors() {
  const auto copy = [&](std::size_t page, const unsigned char* begin, const unsigned char* end) {
    std::memcpy(machine_->pages().page(page), begin, static_cast<std::size_t>(end - begin));
  };
  copy(user_code, pinfold_probe_user_begin, pinfold_probe_user_end);
  copy(supervisor_code, pinfold_probe_supervisor_begin, pinfold_probe_supervisor_end);
  put(gdt, kernel_cs, 0x00af9b000000ffff);
  put(gdt, kernel_ss, 0x00cf93000000ffff);
  put(gdt, user_ss & ~7U, 0x00cff3000000ffff);
  put(gdt, user_cs & ~7U, 0x00affb000000ffff);
  for (std::uint64_t v = 0; v < vectors; ++v) {
    const std::uint64_t to = supervisor_entry + v * stub_size;
    constexpr std::uint64_t gate = 0xee00;  // present, DPL 3, 64-bit interrupt gate
    put(idt, v * 16, (to & 0xffff) | std::uint64_t{kernel_cs} << 16 | gate << 32 | (to >> 16 & 0xffff) << 48);
    put(idt, v * 16 + 8, to >> 32);
  }
  // RSP0, then an I/O map that opens the ports before `closed_port`, and its closing byte
  // (Intel SDM vol. 1, 19.5.2).
  put(tss, 4, supervisor_base + (stack + 1) * page_bytes);
  put(tss, 96, std::uint64_t{tss_bytes} << 48);
  put(tss, tss_bytes + open_ports_bytes, 0xff);
}

KvmResult<void> ProbeGuest::build_registers() {
  if (auto set = vcpu_.set_cpuid(probe_cpuid()); !set) return set;
  auto& s = vcpu_.sregs();
  s.cr0 = 0x80010033;  // PG, WP, NE, ET, MP, PE
  s.cr3 = l4 * page_bytes;
  s.cr4 = 0x620;   // PAE, OSFXSR, OSXMMEXCPT
  s.efer = 0xd01;  // NXE, LMA, LME, SCE
  s.gdt.base = supervisor_base + gdt * page_bytes;
  s.gdt.limit = 0x7f;
  s.idt.base = supervisor_base + idt * page_bytes;
  s.idt.limit = 0xfff;
  s.tr = {};
  s.tr.selector = tss_selector;
  s.tr.base = supervisor_base + tss * page_bytes;
  s.tr.limit = tss_bytes + open_ports_bytes;
  s.tr.type = 11;
  s.tr.present = 1;
  s.ldt = s.ds = s.es = s.fs = s.gs = null_segment();
  const std::array<Msr, 3> msrs{
      Msr{msr::star, std::uint64_t{0x23} << 48 | std::uint64_t{kernel_cs} << 32},
      Msr{msr::lstar, lstar},
      Msr{msr::fmask, 0},
  };
  return vcpu_.set_msrs(msrs);
}

ProbeOutcome ProbeGuest::user(const unsigned char* piece, std::uint64_t rdi, std::uint64_t rax) {
  auto& r = vcpu_.regs();
  r.rip = user_base + static_cast<std::uint64_t>(piece - pinfold_probe_user_begin);
  r.rsp = 0;
  r.rflags = 0x202;
  r.rdi = rdi;
  r.rax = rax;
  r.rcx = 0;
  vcpu_.sregs().cs = segment(user_cs, 11, 3, true);
  vcpu_.sregs().ss = segment(user_ss, 3, 3, false);
  vcpu_.mark_regs_dirty();
  vcpu_.mark_sregs_dirty();
  return resume();
}

ProbeOutcome ProbeGuest::supervisor(const unsigned char* piece, std::uint64_t rdi, std::uint64_t rax) {
  auto& r = vcpu_.regs();
  r.rip = supervisor_entry + static_cast<std::uint64_t>(piece - pinfold_probe_supervisor_begin);
  r.rsp = supervisor_base + (stack + 1) * page_bytes;
  r.rflags = 2;
  r.rdi = rdi;
  r.rax = rax;
  vcpu_.sregs().cs = segment(kernel_cs, 11, 0, true);
  vcpu_.sregs().ss = segment(kernel_ss, 3, 0, false);
  vcpu_.mark_regs_dirty();
  vcpu_.mark_sregs_dirty();
  return resume();
}

ProbeOutcome ProbeGuest::resume() {
  RunResult result = vcpu_.run();
  while (result.kind == RunResult::Kind::interrupted) result = vcpu_.run();
  return outcome_of(vcpu_, result);
}

}  // namespace pinfold::vmm
