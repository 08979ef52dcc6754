// The descriptor tables that the processors of a domain use: GDT, LDT and TSS of each vCPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "vmm/gate/address_space.hpp"
#include "vmm/gate/cpu_areas.hpp"

namespace pinfold::vmm::gate {

/// The last byte of the TSS with its I/O bitmap.
[[nodiscard]] std::uint32_t tss_limit();

/// Copies of what the guest's descriptor pages hold, in the vCPUs' areas, behind them the
/// monitor's own GDT page.
class SegmentTables {
 public:
  /// All outlive this object. The areas' pages are mapped before the first build().
  SegmentTables(Arena& arena, const CpuAreas& areas, const AddressSpace& space)
      : arena_(arena), areas_(areas), space_(space) {}

  /// Fills the monitor's GDT page and the TSS, and empties the LDT. `port_open`: code at CPL3
  /// may use the exit port.
  void build(std::uint32_t cpu, bool port_open) const;

  /// The descriptor that a selector names in the vCPU's GDT or LDT.
  [[nodiscard]] std::uint64_t descriptor(std::uint32_t cpu, std::uint16_t selector) const;

  /// Replaces one page of the guest's part of the GDT. Entries past the given ones become 0.
  void set_gdt_page(std::uint32_t cpu, std::size_t page, std::span<const std::byte> descriptors) const;
  void clear_gdt_page(std::uint32_t cpu, std::size_t page) const;
  void set_gdt_entry(std::uint32_t cpu, std::size_t entry, std::uint64_t descriptor) const;

  /// Maps one page of the LDT. Entries past the given ones become 0. A page that was not set, or was cleared,
  /// is not present: the processor faults when it looks there.
  void set_ldt_page(std::uint32_t cpu, std::size_t page, std::span<const std::byte> descriptors) const;
  /// The processor may know the page until its translations are flushed.
  void clear_ldt_page(std::uint32_t cpu, std::size_t page) const;
  void set_ldt_entry(std::uint32_t cpu, std::size_t entry, std::uint64_t descriptor) const;

 private:
  void build_monitors_page(std::uint32_t cpu) const;
  void build_tss(std::uint32_t cpu, bool port_open) const;

  Arena& arena_;
  const CpuAreas& areas_;
  const AddressSpace& space_;
};

/// The offset of an address in the vCPU's LDT, in bytes; nothing if it is elsewhere.
[[nodiscard]] std::optional<std::uint64_t> offset_in_ldt(std::uint32_t cpu, std::uint64_t address);

}  // namespace pinfold::vmm::gate
