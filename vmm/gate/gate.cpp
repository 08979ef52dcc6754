#include "vmm/gate/gate.hpp"

#include <cstdlib>
#include <cstring>

#include "vmm/gate/text.hpp"
#include "vmm/msr_numbers.hpp"
#include "vmm/registers.hpp"

namespace pinfold::vmm {

using namespace gate;
using pvmmu::Level;
using pvmmu::Pte;
namespace bit = pvmmu::bit;

namespace {

constexpr std::uint64_t supervisor = bit::present | bit::accessed;
constexpr std::uint64_t data = supervisor | bit::writable | bit::dirty | bit::no_execute;
constexpr std::uint64_t upper = bit::present | bit::writable | bit::user | bit::accessed;

// A 64-bit TSS (Intel SDM vol. 3, 8.7) and the I/O bitmap behind it.
constexpr std::size_t tss_rsp0 = 4;
constexpr std::size_t tss_io_base = 102;
constexpr std::size_t tss_bitmap = 104;
constexpr std::size_t bitmap_bytes = exit_port / 8 + 1;
constexpr std::size_t tss_limit = tss_bitmap + bitmap_bytes;  // one byte of ones must follow (vol. 1, 19.5.2)

// Segment descriptors of the monitor's GDT page (vol. 3, 3.4.5).
constexpr std::uint64_t code0_descriptor = 0x00af9b000000ffffULL;
constexpr std::uint64_t data0_descriptor = 0x00cf93000000ffffULL;
constexpr std::uint64_t code32_descriptor = 0x00cffb000000ffffULL;
constexpr std::uint64_t data3_descriptor = 0x00cff3000000ffffULL;
constexpr std::uint64_t code64_descriptor = 0x00affb000000ffffULL;

constexpr std::uint64_t syscall_clears = rflags::ac | rflags::nt | rflags::iopl | rflags::df | rflags::tf;
constexpr std::uint64_t efer_sce = 1, efer_lme = 1 << 8, efer_lma = 1 << 10, efer_nx = 1 << 11;

constexpr std::uint64_t cr0_value = cr0::pg | cr0::am | cr0::wp | cr0::ne | cr0::et | cr0::mp | cr0::pe;
constexpr std::uint64_t cr4_base = 1U << 5 /* PAE */ | 1U << 9 /* OSFXSR */ | 1U << 10 /* OSXMMEXCPT */;
constexpr std::uint64_t cr4_osxsave = 1U << 18;

[[nodiscard]] std::uint64_t stack_top(std::uint32_t cpu) {
  return cpu_area(cpu) + (stack_page + 1) * page_size;
}

/// Where a place of fast_paths.S lies in its page.
[[nodiscard]] std::uint64_t fast_offset(const std::byte* place) {
  return static_cast<std::uint64_t>(place - pinfold_fast_begin);
}

[[nodiscard]] std::uint64_t fast_text(std::uint32_t cpu) {
  return cpu_area(cpu) + fast_text_page * page_size;
}

constexpr std::uint64_t out_length = 2;  // KVM leaves with RIP behind the OUT

/// Offset in the stack page of an entry stub's IRETQ frame: far below where exceptions push.
constexpr std::size_t entry_stub_frame_offset = 512;

kvm_segment segment(std::uint16_t selector, std::uint64_t base, std::uint32_t limit, std::uint8_t type,
                    bool system) {
  kvm_segment s{};
  s.selector = selector;
  s.base = base;
  s.limit = limit;
  s.type = type;
  s.s = system ? 0 : 1;
  s.present = 1;
  return s;
}

}  // namespace

std::uint64_t Gate::pages_needed(std::uint32_t cpus, std::uint64_t mirrors) {
  constexpr std::uint64_t frames_of_an_l2 = 1ULL << 18;
  // Text, IDT, and the tables that map all this.
  return cpus * used_pages + 64 + mirrors / frames_of_an_l2;
}

Gate::Gate(Arena& arena, std::uint32_t cpus, const HostTraits& host, Mfn machphys_frame,
           std::size_t machphys_bytes)
    : arena_(arena),
      host_(host),
      cpus_(cpus),
      machphys_address_(slot_base(host.slot_256_usable ? machphys_slot : machphys_slot_elsewhere)),
      syscall_text_(arena.take_fixed()),
      kernel_text_(arena.take_fixed()),
      idt_(arena.take_fixed()),
      areas_(arena.take_fixed(cpus * used_pages)),
      states_(arena.bytes(area(0, state_page)), (cpus - 1) * used_pages + 1) {
  if (cpus > max_cpus) std::abort();
  build_text();
  build_idt(idt_, kernel_text);
  for (std::uint32_t cpu = 0; cpu < cpus; ++cpu) build_cpu(cpu);
  map_page(syscall_text, syscall_text_, host.port_open_to_cpl3() ? supervisor | bit::user : supervisor);
  map_page(kernel_text, kernel_text_, supervisor);
  map_page(idt, idt_, data);
  map_large(machphys_address_, machphys_frame, machphys_bytes, supervisor | bit::user | bit::no_execute);
  // For stores where KVM has to see those, for looking where the gate tells whose fault a page fault is.
  if (host.stale_entries || host.fast_paths)
    map_large(slot_base(arena_slot), arena.first_frame(), arena.size(),
              host.stale_entries ? data : supervisor | bit::no_execute);
}

void Gate::build_text() {
  std::memcpy(arena_.bytes(syscall_text_), pinfold_gate_user_begin,
              static_cast<std::size_t>(pinfold_gate_user_end - pinfold_gate_user_begin));
  std::memcpy(arena_.bytes(kernel_text_), pinfold_gate_kernel_begin,
              static_cast<std::size_t>(pinfold_gate_kernel_end - pinfold_gate_kernel_begin));
}

void Gate::build_idt(Mfn page, std::uint64_t entries) const {
  // 64-bit interrupt gates (vol. 3, 6.14.1). Vectors past the exceptions have none: INT n gives #GP, which
  // the monitor turns into what the guest asked for. INT3 and INTO come as traps from CPL3.
  for (unsigned vector = 0; vector < exceptions; ++vector) {
    const std::uint64_t entry = entries + vector * exception_stub_size;
    const std::uint64_t dpl = vector == 3 || vector == 4 ? 3 : 0;
    arena_.store(page, vector * 2,
                 (entry & 0xffff) | (std::uint64_t{code0} << 16) | ((0x8e00ULL | dpl << 13) << 32) |
                     ((entry >> 16 & 0xffff) << 48));
    arena_.store(page, vector * 2 + 1, entry >> 32);
  }
}

void Gate::build_cpu(std::uint32_t cpu) {
  for (std::uint64_t page = 0; page <= entry_stub_page; ++page)
    map_page(cpu_area(cpu) + page * page_size, area(cpu, page), page == entry_stub_page ? supervisor : data);
  if (host_.fast_paths) build_fast_paths(cpu);

  for (std::size_t page = 0; page < ldt_pages; ++page) clear_ldt_page(cpu, page);

  const Mfn own = area(cpu, gdt_page + 14);
  const std::uint64_t tss = cpu_area(cpu) + tss_page * page_size;
  const auto slot = [](std::uint16_t selector) { return (selector & 0xfffU) / 8U; };
  arena_.store(own, slot(code0), code0_descriptor);
  arena_.store(own, slot(data0), data0_descriptor);
  arena_.store(own, slot(code32), code32_descriptor);
  arena_.store(own, slot(data3), data3_descriptor);
  arena_.store(own, slot(code64), code64_descriptor);
  arena_.store(own, slot(tss_selector),
               tss_limit | (tss & 0xffffff) << 16 | 0x8bULL << 40 /* present, busy 64-bit TSS */ |
                   (tss >> 24 & 0xff) << 56);
  arena_.store(own, slot(tss_selector) + 1, tss >> 32);
  const std::uint64_t ldt = cpu_area(cpu) + ldt_page * page_size;
  arena_.store(own, slot(ldt_selector),
               0xffffULL | (ldt & 0xffffff) << 16 | 0x82ULL << 40 | (ldt >> 24 & 0xff) << 56);
  arena_.store(own, slot(ldt_selector) + 1, ldt >> 32);

  std::byte* const bytes = arena_.bytes(area(cpu, tss_page));
  const std::uint64_t rsp0 = stack_top(cpu);
  const std::uint16_t io_base = tss_bitmap;
  std::memcpy(bytes + tss_rsp0, &rsp0, sizeof rsp0);
  std::memcpy(bytes + tss_io_base, &io_base, sizeof io_base);
  std::memset(bytes + tss_bitmap, 0xff, bitmap_bytes + 1);
  // CPL3 gets the port only where nothing else leaves the VM at a SYSCALL; elsewhere a guest's own IN or OUT
  // is a #GP like any other.
  if (host_.port_open_to_cpl3()) bytes[tss_bitmap + exit_port / 8] &= ~std::byte{1U << (exit_port % 8)};
}

void Gate::build_fast_paths(std::uint32_t cpu) {
  const Mfn text = area(cpu, fast_text_page);
  std::memcpy(arena_.bytes(text), pinfold_fast_begin,
              static_cast<std::size_t>(pinfold_fast_end - pinfold_fast_begin));
  build_idt(area(cpu, fast_idt_page), fast_text(cpu) + fast_offset(pinfold_fast_exceptions));
  map_page(fast_text(cpu), text, supervisor);
  for (const std::uint64_t page : {state_page, fast_idt_page})
    map_page(cpu_area(cpu) + page * page_size, area(cpu, page), data);
  map_page(cpu_area(cpu) + info_page * page_size, Mfn(0), 0);
  set_state(cpu, &StatePage::info, cpu_area(cpu) + info_page * page_size);  // not there until map_info
  set_state(cpu, &StatePage::arena, arena_address(Mfn(0), 0));
}

void Gate::map_info(std::uint32_t cpu, Mfn frame, std::size_t offset) const {
  const std::uint64_t address = cpu_area(cpu) + info_page * page_size;
  remap_page(address, Pte(frame, data));
  set_state(cpu, &StatePage::info, address + offset);
}

Mfn Gate::table_below(Mfn table, std::size_t slot) {
  const Pte found(arena_.load(table, slot));
  if (found.present()) return found.mfn();
  const Mfn made = arena_.take_fixed();
  arena_.store(table, slot, Pte(made, upper).raw());
  return made;
}

Mfn Gate::l3_of(std::uint64_t address) {
  Pte& root = l4_slots_[pvmmu::slot_of(Level::l4, GuestVaddr(address)) - pvmmu::first_xen_slot];
  if (!root.present()) root = Pte(arena_.take_fixed(), upper);
  return root.mfn();
}

void Gate::map_page(std::uint64_t address, Mfn frame, std::uint64_t flags) {
  const GuestVaddr va(address);
  const Mfn l2 = table_below(l3_of(address), pvmmu::slot_of(Level::l3, va));
  const Mfn l1 = table_below(l2, pvmmu::slot_of(Level::l2, va));
  arena_.store(l1, pvmmu::slot_of(Level::l1, va), Pte(frame, flags).raw());
}

void Gate::remap_page(std::uint64_t address, Pte entry) const {
  const GuestVaddr va(address);
  Mfn table = l4_slots_[pvmmu::slot_of(Level::l4, va) - pvmmu::first_xen_slot].mfn();
  for (const Level level : {Level::l3, Level::l2})
    table = Pte(arena_.load(table, pvmmu::slot_of(level, va))).mfn();
  arena_.store(table, pvmmu::slot_of(Level::l1, va), entry.raw());
}

void Gate::map_large(std::uint64_t address, Mfn frame, std::size_t bytes, std::uint64_t flags) {
  constexpr std::uint64_t large = 2ULL << 20;
  if (frame.raw() % pvmmu::entries_per_table != 0) std::abort();
  for (std::uint64_t at = 0; at < bytes; at += large) {
    const GuestVaddr va(address + at);
    const Mfn l2 = table_below(l3_of(address), pvmmu::slot_of(Level::l3, va));
    arena_.store(l2, pvmmu::slot_of(Level::l2, va),
                 Pte(frame.plus(at >> page_shift), flags | bit::pat_or_large).raw());
  }
}

KvmResult<void> Gate::set_up(Vcpu& vcpu, std::uint32_t cpu) const {
  if (auto fresh = vcpu.refresh(); !fresh) return fresh;
  const std::uint64_t here = cpu_area(cpu);
  kvm_sregs& s = vcpu.sregs();
  s.gdt.base = here + gdt_page * page_size;
  s.gdt.limit = 15 * page_size - 1;
  s.idt.base = host_.fast_paths ? here + fast_idt_page * page_size : idt;
  s.idt.limit = exceptions * 16 - 1;
  s.tr = segment(tss_selector, here + tss_page * page_size, tss_limit, 11, true);
  s.ldt = segment(ldt_selector, here + ldt_page * page_size, 0xffff, 2, true);
  s.cr0 = cr0_value;
  s.cr4 = cr4_base | cr4_osxsave;
  s.efer = efer_sce | efer_lme | efer_lma | efer_nx;
  vcpu.mark_sregs_dirty();
  // Where SYSCALL stays at CPL3 interrupts stay on: else KVM does not leave at once (it reports a window for
  // interrupts, and IF is that window).
  const std::uint64_t mask = host_.syscall_stays_at_cpl3 ? syscall_clears : syscall_clears | rflags::if_;
  const std::uint64_t lstar =
      host_.fast_paths ? fast_text(cpu) + fast_offset(pinfold_fast_syscall) : syscall_text;
  const std::array<Msr, 4> msrs{{{msr::star, std::uint64_t{code0} << 32 | std::uint64_t{code32} << 48},
                                 {msr::lstar, lstar},
                                 {msr::cstar, compat_entry},
                                 {msr::fmask, mask}}};
  return vcpu.set_msrs(msrs);
}

std::optional<SyscallEntry> Gate::syscall_entry(GateAddress at, AtOut stopped) {
  const std::uint64_t entry = at.raw() - (stopped == AtOut::behind ? out_length : 0);
  if (entry == syscall_text) return SyscallEntry::bits64;
  if (entry == compat_entry) return SyscallEntry::bits32;
  return std::nullopt;
}

bool Gate::is_syscall_entry_at_cpl3(std::uint64_t rip, AtOut stopped) {
  return rip - (stopped == AtOut::behind ? out_length : 0) == syscall_text;
}

std::optional<std::uint8_t> Gate::exception_vector(GateAddress at, AtOut stopped) {
  const std::uint64_t offset = at.raw() - (stopped == AtOut::behind ? out_length : 0) - kernel_text;
  if (offset >= exceptions * exception_stub_size || offset % exception_stub_size != 0) return std::nullopt;
  return static_cast<std::uint8_t>(offset / exception_stub_size);
}

std::uint64_t Gate::stack_word(std::uint32_t cpu, std::uint64_t address) const {
  const std::uint64_t bottom = stack_top(cpu) - page_size;
  if (address % 8 != 0 || address < bottom || address - bottom >= page_size) return 0;
  return arena_.load(area(cpu, stack_page), (address - bottom) / 8);
}

ExceptionFrame Gate::exception_frame(std::uint32_t cpu, std::uint64_t rsp, bool error_code) const {
  // [error code] RIP CS RFLAGS RSP SS (vol. 3, 6.14.2).
  const std::uint64_t at = error_code ? rsp + 8 : rsp;
  const auto word = [&](std::uint64_t i) { return stack_word(cpu, at + 8 * i); };
  return {error_code ? stack_word(cpu, rsp) : 0, word(0), word(1), word(2), word(3), word(4)};
}

bool Gate::in_fast_paths(std::uint32_t cpu, GateAddress at) {
  return at.raw() >= fast_text(cpu) && at.raw() - fast_text(cpu) < page_size;
}

GateExit Gate::fast_exit(std::uint32_t cpu, GateAddress at) {
  if (!in_fast_paths(cpu, at)) return GateExit::none;
  const std::uint64_t offset = at.raw() - fast_text(cpu);
  if (offset >= fast_offset(pinfold_fast_return) &&
      offset <= fast_offset(pinfold_fast_return_out) + out_length)
    return GateExit::returning;
  const auto behind = [offset](const std::byte* out) { return offset == fast_offset(out) + out_length; };
  if (behind(pinfold_fast_syscall_out)) return GateExit::syscall;
  if (behind(pinfold_fast_exception_out)) return GateExit::exception;
  if (behind(pinfold_fast_refused_out)) return GateExit::refused;
  if (behind(pinfold_fast_broken_out)) return GateExit::broken;
  return GateExit::none;
}

std::uint8_t Gate::fast_vector(std::uint32_t cpu, std::uint64_t rsp) const {
  return static_cast<std::uint8_t>(stack_word(cpu, rsp) % exceptions);
}

FastPathCounts Gate::fast_path_counts() const {
  FastPathCounts sum;
  if (!host_.fast_paths) return sum;
  for (std::uint32_t cpu = 0; cpu < cpus_; ++cpu) {
    for (std::size_t i = 0; i < sum.exceptions.size(); ++i)
      sum.exceptions[i] += state(cpu, {&StatePage::bounced, i});
    for (std::size_t i = 0; i < sum.hypercalls.size(); ++i)
      sum.hypercalls[i] += state(cpu, {&StatePage::hypercalls, i});
    sum.syscalls += state(cpu, {&StatePage::bounced, bounced_syscalls});
    sum.events += state(cpu, {&StatePage::bounced, bounced_events});
  }
  return sum;
}

void Gate::resume(Vcpu& vcpu, std::uint32_t cpu, std::uint16_t cs, std::uint16_t ss,
                  std::optional<std::uint64_t> cr3) const {
  kvm_regs& r = vcpu.regs();
  const std::array<std::uint64_t, 5> frame{r.rip, cs, r.rflags, r.rsp, ss};
  std::memcpy(arena_.bytes(area(cpu, stack_page)) + page_size - sizeof frame, frame.data(), sizeof frame);
  if (cr3) set_state(cpu, &StatePage::next_cr3, *cr3);
  r.rip = fast_text(cpu) + fast_offset(cr3 ? pinfold_fast_reload : pinfold_fast_return);
  r.rsp = stack_top(cpu) - sizeof frame;
  r.rflags = rflags::fixed;
  vcpu.mark_regs_dirty();
}

std::uint64_t Gate::descriptor(std::uint32_t cpu, std::uint16_t selector) const {
  const std::size_t entry = selector >> 3;
  const std::size_t page = entry / pvmmu::entries_per_table;
  const bool local = (selector & 4) != 0;
  if (!local && page > 14) return 0;
  return arena_.load(area(cpu, (local ? ldt_page : gdt_page) + page), entry % pvmmu::entries_per_table);
}

void Gate::set_gdt_page(std::uint32_t cpu, std::size_t page, std::span<const std::byte> descriptors) const {
  if (page >= 14 || descriptors.size() > page_size) std::abort();
  clear_gdt_page(cpu, page);
  std::memcpy(arena_.bytes(area(cpu, gdt_page + page)), descriptors.data(), descriptors.size());
}

void Gate::clear_gdt_page(std::uint32_t cpu, std::size_t page) const {
  std::memset(arena_.bytes(area(cpu, gdt_page + page)), 0, page_size);
}

void Gate::set_gdt_entry(std::uint32_t cpu, std::size_t entry, std::uint64_t descriptor) const {
  if (entry >= 14 * pvmmu::entries_per_table) std::abort();
  arena_.store(area(cpu, gdt_page + entry / pvmmu::entries_per_table), entry % pvmmu::entries_per_table,
               descriptor);
}

void Gate::set_ldt_page(std::uint32_t cpu, std::size_t page, std::span<const std::byte> descriptors) const {
  if (page >= ldt_pages || descriptors.size() > page_size) std::abort();
  const Mfn frame = area(cpu, ldt_page + page);
  std::memset(arena_.bytes(frame), 0, page_size);
  std::memcpy(arena_.bytes(frame), descriptors.data(), descriptors.size());
  remap_page(cpu_area(cpu) + (ldt_page + page) * page_size, Pte(frame, data));
}

void Gate::clear_ldt_page(std::uint32_t cpu, std::size_t page) const {
  std::memset(arena_.bytes(area(cpu, ldt_page + page)), 0, page_size);
  remap_page(cpu_area(cpu) + (ldt_page + page) * page_size, Pte());
}

std::optional<std::uint64_t> Gate::offset_in_ldt(std::uint32_t cpu, std::uint64_t address) {
  const std::uint64_t first = cpu_area(cpu) + ldt_page * page_size;
  if (address < first || address - first >= ldt_pages * page_size) return std::nullopt;
  return address - first;
}

void Gate::set_ldt_entry(std::uint32_t cpu, std::size_t entry, std::uint64_t descriptor) const {
  if (entry >= ldt_pages * pvmmu::entries_per_table) std::abort();
  arena_.store(area(cpu, ldt_page + entry / pvmmu::entries_per_table), entry % pvmmu::entries_per_table,
               descriptor);
}

void Gate::prepare_entry_stub(Vcpu& vcpu, std::uint32_t cpu, const EntryStub& code, bool leaves) const {
  kvm_regs& r = vcpu.regs();
  kvm_sregs& s = vcpu.sregs();
  EntryStub finished = code;
  const auto bytes = leaves ? finished.finish_with_out(exit_port) : finished.finish(r.rax);
  std::memcpy(arena_.bytes(area(cpu, entry_stub_page)), bytes.data(), bytes.size());
  const std::array<std::uint64_t, 5> frame{r.rip, s.cs.selector, r.rflags, r.rsp, s.ss.selector};
  std::memcpy(arena_.bytes(area(cpu, stack_page)) + entry_stub_frame_offset, frame.data(), sizeof frame);

  r.rip = cpu_area(cpu) + entry_stub_page * page_size;
  r.rsp = cpu_area(cpu) + stack_page * page_size + entry_stub_frame_offset;
  r.rflags = rflags::fixed;
  s.cs = segment(code0, 0, 0xffffffff, 11, false);
  s.cs.l = 1;
  s.cs.g = 1;
  s.ss = segment(data0, 0, 0xffffffff, 3, false);
  s.ss.db = 1;
  s.ss.g = 1;
  vcpu.mark_regs_dirty();
  vcpu.mark_sregs_dirty();
}

bool Gate::in_entry_stub(std::uint32_t cpu, GateAddress at) {
  const std::uint64_t begin = cpu_area(cpu) + entry_stub_page * page_size;
  return at.raw() >= begin && at.raw() < begin + page_size;
}

std::uint64_t Gate::arena_address(Mfn frame, std::size_t offset) const {
  return slot_base(arena_slot) + (frame.raw() - arena_.first_frame().raw()) * page_size + offset;
}

}  // namespace pinfold::vmm
