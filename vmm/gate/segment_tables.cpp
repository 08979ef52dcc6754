#include "vmm/gate/segment_tables.hpp"

#include <cstdlib>
#include <cstring>

#include "vmm/kvm/exit_port.hpp"

namespace pinfold::vmm::gate {
namespace {

// A 64-bit TSS (Intel SDM vol. 3, 8.7) and the I/O bitmap behind it. One byte of ones must follow the
// bitmap (vol. 1, 19.5.2).
constexpr std::size_t tss_rsp0 = 4;
constexpr std::size_t tss_ist = 36 - 8;  // of entry 0, which means: none
constexpr std::size_t tss_io_base = 102;
constexpr std::size_t tss_bitmap = 104;
constexpr std::size_t bitmap_bytes = exit_port / 8 + 1;

// Segment descriptors of the monitor's GDT page (vol. 3, 3.4.5).
constexpr std::uint64_t code0_descriptor = 0x00af9b000000ffffULL;
constexpr std::uint64_t data0_descriptor = 0x00cf93000000ffffULL;
constexpr std::uint64_t code32_descriptor = 0x00cffb000000ffffULL;
constexpr std::uint64_t data3_descriptor = 0x00cff3000000ffffULL;
constexpr std::uint64_t code64_descriptor = 0x00affb000000ffffULL;
constexpr std::uint64_t busy_tss = 0x8bULL << 40, ldt_type = 0x82ULL << 40;  // both present

/// The first half of a system segment's descriptor (vol. 3, 8.2.3); the second is the base's upper half.
constexpr std::uint64_t system_descriptor(std::uint64_t base, std::uint64_t limit, std::uint64_t type) {
  return limit | (base & 0xffffff) << 16 | type | (base >> 24 & 0xff) << 56;
}

}  // namespace

std::uint32_t tss_limit() { return tss_bitmap + bitmap_bytes; }

void SegmentTables::build(std::uint32_t cpu, bool port_open) const {
  for (std::size_t page = 0; page < ldt_pages; ++page) clear_ldt_page(cpu, page);
  build_monitors_page(cpu);
  build_tss(cpu, port_open);
}

void SegmentTables::build_monitors_page(std::uint32_t cpu) const {
  const Mfn own = areas_.frame(cpu, gdt_page + guests_gdt_pages);
  const auto slot = [](std::uint16_t selector) { return (selector & 0xfffU) / 8U; };
  arena_.store(own, slot(code0), code0_descriptor);
  arena_.store(own, slot(data0), data0_descriptor);
  arena_.store(own, slot(code32), code32_descriptor);
  arena_.store(own, slot(data3), data3_descriptor);
  arena_.store(own, slot(code64), code64_descriptor);
  const std::uint64_t tss = page_address(cpu, tss_page);
  arena_.store(own, slot(tss_selector), system_descriptor(tss, tss_limit(), busy_tss));
  arena_.store(own, slot(tss_selector) + 1, tss >> 32);
  const std::uint64_t ldt = page_address(cpu, ldt_page);
  arena_.store(own, slot(ldt_selector), system_descriptor(ldt, 0xffff, ldt_type));
  arena_.store(own, slot(ldt_selector) + 1, ldt >> 32);
}

void SegmentTables::build_tss(std::uint32_t cpu, bool port_open) const {
  std::byte* const bytes = areas_.bytes(cpu, tss_page);
  const std::uint64_t rsp0 = stack_top(cpu);
  const std::uint16_t io_base = tss_bitmap;
  std::memcpy(bytes + tss_rsp0, &rsp0, sizeof rsp0);
  for (std::uint64_t i = 1; i <= own_stacks; ++i) {
    const std::uint64_t top = own_stack_top(cpu, static_cast<OwnStack>(i));
    std::memcpy(bytes + tss_ist + i * sizeof top, &top, sizeof top);
  }
  std::memcpy(bytes + tss_io_base, &io_base, sizeof io_base);
  std::memset(bytes + tss_bitmap, 0xff, bitmap_bytes + 1);
  // CPL3 gets the port only where nothing else leaves the VM at a SYSCALL; elsewhere a guest's own IN or OUT
  // is a #GP like any other.
  if (port_open) bytes[tss_bitmap + exit_port / 8] &= ~std::byte{1U << (exit_port % 8)};
}

std::uint64_t SegmentTables::descriptor(std::uint32_t cpu, std::uint16_t selector) const {
  const std::size_t entry = selector >> 3;
  const std::size_t page = entry / pvmmu::entries_per_table;
  const bool local = (selector & 4) != 0;
  if (!local && page > guests_gdt_pages) return 0;
  return arena_.load(areas_.frame(cpu, (local ? ldt_page : gdt_page) + page),
                     entry % pvmmu::entries_per_table);
}

void SegmentTables::set_gdt_page(std::uint32_t cpu, std::size_t page,
                                 std::span<const std::byte> descriptors) const {
  if (page >= guests_gdt_pages || descriptors.size() > page_size) std::abort();
  clear_gdt_page(cpu, page);
  std::memcpy(areas_.bytes(cpu, gdt_page + page), descriptors.data(), descriptors.size());
}

void SegmentTables::clear_gdt_page(std::uint32_t cpu, std::size_t page) const {
  std::memset(areas_.bytes(cpu, gdt_page + page), 0, page_size);
}

void SegmentTables::set_gdt_entry(std::uint32_t cpu, std::size_t entry, std::uint64_t descriptor) const {
  if (entry >= guests_gdt_pages * pvmmu::entries_per_table) std::abort();
  arena_.store(areas_.frame(cpu, gdt_page + entry / pvmmu::entries_per_table),
               entry % pvmmu::entries_per_table, descriptor);
}

void SegmentTables::set_ldt_page(std::uint32_t cpu, std::size_t page,
                                 std::span<const std::byte> descriptors) const {
  if (page >= ldt_pages || descriptors.size() > page_size) std::abort();
  std::byte* const bytes = areas_.bytes(cpu, ldt_page + page);
  std::memset(bytes, 0, page_size);
  std::memcpy(bytes, descriptors.data(), descriptors.size());
  space_.remap_page(page_address(cpu, ldt_page + page), pvmmu::Pte(areas_.frame(cpu, ldt_page + page), data));
}

void SegmentTables::clear_ldt_page(std::uint32_t cpu, std::size_t page) const {
  std::memset(areas_.bytes(cpu, ldt_page + page), 0, page_size);
  space_.remap_page(page_address(cpu, ldt_page + page), pvmmu::Pte());
}

void SegmentTables::set_ldt_entry(std::uint32_t cpu, std::size_t entry, std::uint64_t descriptor) const {
  if (entry >= ldt_pages * pvmmu::entries_per_table) std::abort();
  arena_.store(areas_.frame(cpu, ldt_page + entry / pvmmu::entries_per_table),
               entry % pvmmu::entries_per_table, descriptor);
}

std::optional<std::uint64_t> offset_in_ldt(std::uint32_t cpu, std::uint64_t address) {
  const std::uint64_t first = page_address(cpu, ldt_page);
  if (address < first || address - first >= ldt_pages * page_size) return std::nullopt;
  return address - first;
}

}  // namespace pinfold::vmm::gate
