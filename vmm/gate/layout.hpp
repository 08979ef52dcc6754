// Addresses of the monitor's own pages, the same in every guest address space: in L4 slots 256 to 271, which
// the ABI reserves for the hypervisor (xen/arch-x86/xen-x86_64.h).
#pragma once

#include <cstdint>

#include "pvmmu/pte.hpp"
#include "vmm/vectors.hpp"

namespace pinfold::vmm::gate {

/// First address of an L4 slot of the upper half.
[[nodiscard]] constexpr std::uint64_t slot_base(std::uint64_t slot) {
  return 0xffff000000000000ULL | (slot << 39);
}

/// The machine-to-phys table: slot 256, as the ABI says, or 257 where code at CPL3 can't read slot 256. The
/// guest can ask for the address (XENMEM_machphys_mapping).
inline constexpr std::uint64_t machphys_slot = 256;
inline constexpr std::uint64_t machphys_slot_elsewhere = 257;
/// The gate: entry code and the vCPUs' areas.
inline constexpr std::uint64_t gate_slot = 258;
/// The mirror arena. Writable where KVM shadows the mirrors, because entry stubs store into them; read-only
/// where the fast paths walk the mirrors at a page fault.
inline constexpr std::uint64_t arena_slot = 259;

/// What the resident path uses (resident.cpp): facts, read-only; uses; the windows of the machine's frames.
inline constexpr std::uint64_t facts_slot = 260, uses_slot = 261, windows_slot = 262;

inline constexpr std::uint64_t base = slot_base(gate_slot);
/// LSTAR on hosts without fast paths. CPL3 may execute this page only if SYSCALL stays at CPL3 and KVM does
/// not leave the VM there by itself.
inline constexpr std::uint64_t syscall_text = base;
/// CSTAR: the entry of 32-bit code's SYSCALL, which AMD's processors have.
inline constexpr std::uint64_t compat_entry = syscall_text + 0x10;
/// One page for CPL0: the entries of exceptions.
inline constexpr std::uint64_t kernel_text = base + 0x1000;
inline constexpr std::uint64_t idt = base + 0x2000;
/// The resident path's code, executable at CPL0, and its control page.
inline constexpr std::uint64_t resident_text = base + 0x3000;
inline constexpr std::uint64_t control_page = base + 0x4000;
/// The first vCPU's area; each has 256 KiB.
inline constexpr std::uint64_t cpu_areas = base + 0x200000;
inline constexpr std::uint64_t cpu_area_pages = 64;
inline constexpr std::uint64_t max_cpus = 128;

/// Pages of a vCPU's area.
inline constexpr std::uint64_t gdt_page =
    0;  ///< The first of the guest's pages; the monitor's one follows them.
inline constexpr std::uint64_t guests_gdt_pages = 14;  ///< The ABI's number: FIRST_RESERVED_GDT_PAGE (xen.h).
inline constexpr std::uint64_t ldt_page = 16;          ///< The first of `ldt_pages`.
inline constexpr std::uint64_t ldt_pages = 16;
inline constexpr std::uint64_t tss_page = 32;    ///< The TSS and its I/O bitmap.
inline constexpr std::uint64_t stack_page = 33;  ///< Exceptions push here; holds an entry stub's IRETQ frame.
inline constexpr std::uint64_t entry_stub_page = 34;  ///< An entry stub's code, executable at CPL0.
/// For the fast paths (fast_paths.S): their code, which finds the stack before it and the state page behind
/// it by their distance; an IDT that points to them; the frame with the vCPU's vcpu_info.
inline constexpr std::uint64_t fast_text_page = 35;
inline constexpr std::uint64_t state_page = 36;
inline constexpr std::uint64_t fast_idt_page = 37;
inline constexpr std::uint64_t info_page = 38;
/// The stacks of exceptions that don't use the stack page (`OwnStack`).
inline constexpr std::uint64_t own_stacks_page = 39;
inline constexpr std::uint64_t used_pages = 40;
static_assert(stack_page + 2 == fast_text_page && fast_text_page + 1 == state_page);

[[nodiscard]] constexpr std::uint64_t cpu_area(std::uint32_t cpu) {
  return cpu_areas + cpu * cpu_area_pages * page_size;
}
/// The address of a page of a vCPU's area.
[[nodiscard]] constexpr std::uint64_t page_address(std::uint32_t cpu, std::uint64_t page) {
  return cpu_area(cpu) + page * page_size;
}
/// Where RSP points when the vCPU's gate stack is empty.
[[nodiscard]] constexpr std::uint64_t stack_top(std::uint32_t cpu) {
  return page_address(cpu, stack_page) + page_size;
}

/// Exceptions that get a stack of their own from the TSS, whatever RSP is (interrupt stack table, Intel SDM
/// vol. 3, 6.14.5): they can come while RSP is the guest's, between a SYSCALL and the gate's first
/// instructions. The numbers are those of the table's entries.
enum class OwnStack : std::uint8_t { none = 0, debug = 1, nmi = 2, machine_check = 3, double_fault = 4 };
inline constexpr std::uint64_t own_stacks = 4;
/// Each has a quarter of their page. The deepest use is a frame and what the gate pushes with it.
inline constexpr std::uint64_t own_stack_size = page_size / own_stacks;

/// Where RSP points when this stack is empty. Not for `none`.
[[nodiscard]] constexpr std::uint64_t own_stack_top(std::uint32_t cpu, OwnStack stack) {
  return page_address(cpu, own_stacks_page) + static_cast<std::uint64_t>(stack) * own_stack_size;
}

/// The stack of a vector's exceptions.
[[nodiscard]] constexpr OwnStack own_stack_of(unsigned exception) {
  switch (exception) {
    case vector::db: return OwnStack::debug;
    case vector::nmi: return OwnStack::nmi;
    case vector::mc: return OwnStack::machine_check;
    case vector::df: return OwnStack::double_fault;
    default: return OwnStack::none;
  }
}

/// Selectors of the monitor's GDT page, which is page 14 of each GDT. The ABI defines code32, data3 and
/// code64 (FLAT_RING3_CS32, _SS64 and _CS64).
inline constexpr std::uint16_t code0 = 0xe008, data0 = 0xe010, code32 = 0xe023, data3 = 0xe02b,
                               code64 = 0xe033, tss_selector = 0xe040, ldt_selector = 0xe050;

inline constexpr unsigned exceptions = 32;
inline constexpr std::uint64_t exception_stub_size = 16;
/// Behind the exceptions' entries: that of #DB where breakpoints act and there are no fast paths.
inline constexpr std::uint64_t debug_entry = kernel_text + exceptions * exception_stub_size;

}  // namespace pinfold::vmm::gate
