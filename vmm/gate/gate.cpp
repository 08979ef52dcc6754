#include "vmm/gate/gate.hpp"

#include <cstdlib>
#include <cstring>

#include "vmm/gate/text.hpp"
#include "vmm/vectors.hpp"

namespace pinfold::vmm {

using namespace gate;
namespace bit = pvmmu::bit;

std::uint64_t Gate::pages_needed(std::uint32_t cpus, std::uint64_t mirrors, std::uint64_t windows) {
  constexpr std::uint64_t frames_of_an_l2 = 1ULL << 18;
  // Text, IDT, and the tables that map all this.
  const std::uint64_t needed = cpus * used_pages + 64 + mirrors / frames_of_an_l2 + windows / frames_of_an_l2;
  constexpr std::uint64_t frames_per_large = pvmmu::entries_per_table;
  return (needed + frames_per_large - 1) / frames_per_large * frames_per_large;
}

Gate::Gate(Arena& arena, std::uint32_t cpus, const HostTraits& host, Mfn machphys_frame,
           std::size_t machphys_bytes)
    : arena_(arena),
      host_(host),
      machphys_address_(slot_base(host.slot_256_usable ? machphys_slot : machphys_slot_elsewhere)),
      syscall_text_(arena.take_fixed()),
      kernel_text_(arena.take_fixed()),
      fast_text_(arena.take_fixed()),
      resident_text_(arena.take_fixed()),
      space_(arena),
      idt_(arena.take_fixed()),
      control_page_(arena.take_fixed()),
      areas_(arena, cpus),
      cpus_(cpus),
      states_(areas_, cpus),
      segment_tables_(arena, areas_, space_) {
  if (cpus > max_cpus || resident_text_ != arena.first_frame().plus(text_pages - 1)) std::abort();
  build_text();
  build_idt(idt_, kernel_text);
  for (std::uint32_t cpu = 0; cpu < cpus; ++cpu) build_cpu(cpu);
  space_.map_page(syscall_text, syscall_text_,
                  host.port_open_to_cpl3() ? supervisor | bit::user : supervisor);
  space_.map_page(kernel_text, kernel_text_, supervisor);
  space_.map_page(idt, idt_, data);
  map_machphys(machphys_frame, 0, machphys_bytes);
  space_.map_page(gate::resident_text, resident_text_, supervisor);
  space_.map_page(gate::control_page, control_page_, data);
  if (host.resident)
    for (const std::uint64_t slot : {facts_slot, uses_slot, windows_slot})
      space_.reserve_slot(slot_base(slot));
  // Where KVM has to see stores to mirrors, entry stubs make them here. The fast paths only read mirrors, and
  // the resident path stores into them. The gate's own pages are not among what it can write here.
  const Mfn mirrors = arena.mirrors().frame(pvmmu::no_mirror);
  if (host.stale_entries || host.fast_paths)
    space_.map_large(slot_base(arena_slot), mirrors,
                     arena.size() - (mirrors.raw() - arena.first_frame().raw()) * page_size,
                     host.stale_entries || host.resident ? data : supervisor | bit::no_execute);
}

/// Each is under one L2, as the machine-to-phys table is.
void Gate::map_records(Mfn facts, Mfn uses, std::size_t record_bytes) {
  space_.map_large(slot_base(facts_slot), facts, record_bytes, supervisor | bit::no_execute);
  space_.map_large(slot_base(uses_slot), uses, record_bytes, data);
}

void Gate::extend_windows(Mfn frame, std::uint64_t from, std::uint64_t to) {
  constexpr std::uint64_t frames_per_large = pvmmu::entries_per_table;
  from = from / frames_per_large * frames_per_large;  // its first large page may be there already
  space_.map_large(slot_base(windows_slot) + from * page_size, frame.plus(from), (to - from) * page_size,
                   data);
}

std::vector<gate::ResidentFlags*> Gate::resident_flags() const {
  std::vector<ResidentFlags*> flags;
  for (std::uint32_t cpu = 0; cpu < cpus_; ++cpu)
    flags.push_back(reinterpret_cast<ResidentFlags*>(areas_.bytes(cpu, state_page) +
                                                     offsetof(StatePage, resident_flags)));
  return flags;
}

gate::ControlPage& Gate::control_page() const {
  return *reinterpret_cast<gate::ControlPage*>(arena_.bytes(control_page_));
}

/// All of it is under one L2, which is there from the beginning: 512 MiB for the largest machine.
void Gate::map_machphys(Mfn frame, std::size_t from, std::size_t to) {
  static_assert(pvmmu::first_monitor_frame.raw() * sizeof(std::uint64_t) <= 1ULL << 30);
  space_.map_large(machphys_address_ + from, frame, to - from, supervisor | bit::user | bit::no_execute);
}

void Gate::build_text() {
  std::memcpy(arena_.bytes(syscall_text_), pinfold_gate_user_begin,
              static_cast<std::size_t>(pinfold_gate_user_end - pinfold_gate_user_begin));
  std::memcpy(arena_.bytes(fast_text_), pinfold_fast_begin,
              static_cast<std::size_t>(pinfold_fast_end - pinfold_fast_begin));
  std::memcpy(arena_.bytes(resident_text_), __start_pinfold_resident_text,
              static_cast<std::size_t>(__stop_pinfold_resident_text - __start_pinfold_resident_text));
  std::memcpy(arena_.bytes(kernel_text_), pinfold_gate_kernel_begin,
              static_cast<std::size_t>(pinfold_gate_kernel_end - pinfold_gate_kernel_begin));
}

void Gate::build_idt(Mfn page, std::uint64_t entries) const {
  // 64-bit interrupt gates (vol. 3, 6.14.1). Vectors past the exceptions have none: INT n gives #GP, which
  // the monitor turns into what the guest asked for. INT3 and INTO come as traps from CPL3.
  for (unsigned v = 0; v < exceptions; ++v) {
    const bool breakpoint = v == vector::db && host_.debug_registers && entries == kernel_text;
    const std::uint64_t entry = breakpoint ? debug_entry : entries + v * exception_stub_size;
    const std::uint64_t dpl = v == vector::bp || v == vector::of ? 3 : 0;
    const auto stack = static_cast<std::uint64_t>(own_stack_of(v));
    arena_.store(page, v * 2,
                 (entry & 0xffff) | (std::uint64_t{code0} << 16) | ((0x8e00ULL | dpl << 13 | stack) << 32) |
                     ((entry >> 16 & 0xffff) << 48));
    arena_.store(page, v * 2 + 1, entry >> 32);
  }
}

void Gate::build_cpu(std::uint32_t cpu) {
  for (std::uint64_t page = 0; page <= entry_stub_page; ++page)
    space_.map_page(page_address(cpu, page), areas_.frame(cpu, page),
                    page == entry_stub_page ? supervisor : data);
  space_.map_page(page_address(cpu, own_stacks_page), areas_.frame(cpu, own_stacks_page), data);
  if (host_.fast_paths) build_fast_paths(cpu);
  segment_tables_.build(cpu, host_.port_open_to_cpl3());
}

void Gate::build_fast_paths(std::uint32_t cpu) {
  const std::uint64_t text = page_address(cpu, fast_text_page);
  build_idt(areas_.frame(cpu, fast_idt_page), text + fast_offset(pinfold_fast_exceptions));
  space_.map_page(text, fast_text_, supervisor);
  for (const std::uint64_t page : {state_page, fast_idt_page})
    space_.map_page(page_address(cpu, page), areas_.frame(cpu, page), data);
  space_.map_page(page_address(cpu, info_page), Mfn(0), 0);
  set_state(cpu, &StatePage::info, page_address(cpu, info_page));  // not present until map_info()
  set_state(cpu, &StatePage::arena, arena_address(Mfn(0), 0));
  set_state(cpu, &StatePage::cpu_plus_1, cpu + 1);
  set_state(cpu, &StatePage::resident, host_.resident ? resident_entry() : 0);
}

void Gate::map_info(std::uint32_t cpu, Mfn frame, std::size_t offset) const {
  const std::uint64_t address = page_address(cpu, info_page);
  space_.remap_page(address, pvmmu::Pte(frame, data));
  set_state(cpu, &StatePage::info, address + offset);
}

std::uint64_t Gate::arena_address(Mfn frame, std::size_t offset) const {
  return slot_base(arena_slot) + (frame.raw() - arena_.mirrors().frame(pvmmu::no_mirror).raw()) * page_size +
         offset;
}

}  // namespace pinfold::vmm
