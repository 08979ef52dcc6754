// Where everything lies in a new domain's memory: the initial virtual layout that PV kernels expect of a
// loader.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "loader/kernel_image.hpp"
#include "loader/load_error.hpp"
#include "pvmmu/types.hpp"

namespace pinfold::loader {

/// A run of pseudo-physical frames.
struct PfnRun {
  Pfn first;
  std::uint64_t count = 0;
  [[nodiscard]] Pfn end() const { return first.plus(count); }
  [[nodiscard]] bool contains(Pfn pfn) const { return pfn >= first && pfn < end(); }
};

/// A run of pages that the initial page tables map to consecutive pfns. `pages` is not 0; the last byte is
/// canonical.
struct Mapping {
  GuestVaddr va;
  PfnRun pages;
  [[nodiscard]] std::uint64_t last_byte() const { return va.raw() + pages.count * page_size - 1; }
};

/// The tables of one level that serve one mapping: table i covers the addresses with va48 >> (12 + 9 * level)
/// == first_index + i, and lies in frame frames.first + i. A run may be empty: then all its tables are
/// another mapping's.
struct TableRun {
  std::uint64_t first_index = 0;
  PfnRun frames;
};

/// Levels 1 to 4 at [0] to [3].
using TableRuns = std::array<TableRun, 4>;

struct LayoutRequest {
  KernelAddresses kernel;
  bool initrd_unmapped = false;   // MOD_START_PFN
  std::uint64_t nr_pages = 0;     // the domain's whole memory
  std::uint64_t initrd_size = 0;  // bytes; 0: none
};

/// Elements in the order in which they lie in memory.
struct Layout {
  PfnRun kernel;
  PfnRun initrd;  // count 0: none
  PfnRun p2m;
  Pfn start_info;
  Pfn xenstore_ring;
  Pfn console_ring;
  PfnRun page_tables;  // of the main mapping: L4, then L3s, L2s, L1s
  Pfn boot_stack;
  PfnRun p2m_page_tables;  // count 0 unless the list has a mapping of its own
  Pfn end;                 // past the last frame that anything occupies

  Mapping main;                        // from pseudo-physical 0
  std::optional<Mapping> p2m_mapping;  // INIT_P2M
  TableRuns main_tables;
  TableRuns p2m_tables;
  bool initrd_mapped = false;

  /// Of a frame in the main mapping.
  [[nodiscard]] GuestVaddr va(Pfn pfn) const { return GuestVaddr(main.va.raw() + (pfn.raw() << page_shift)); }
  [[nodiscard]] GuestVaddr p2m_va() const { return p2m_mapping ? p2m_mapping->va : va(p2m.first); }
  /// Of first_p2m_pfn and nr_p2m_frames (xen/xen.h, start_info): list and tables.
  [[nodiscard]] PfnRun p2m_frames() const { return {p2m.first, p2m.count + p2m_page_tables.count}; }
  /// Page tables must be read-only wherever they are mapped.
  [[nodiscard]] bool is_page_table(Pfn pfn) const {
    return page_tables.contains(pfn) || p2m_page_tables.contains(pfn);
  }
  /// The table of `level` (1 to 4) that translates `va`, which must lie in one of the mappings.
  [[nodiscard]] Pfn table_for(std::size_t level, std::uint64_t va) const;
};

/// Packs the elements upward from VIRT_BASE, as libxc does: [pages below the kernel] kernel, initrd (unless
/// it may stay unmapped), p2m list (unless INIT_P2M), start_info, xenstore ring, console ring, page tables,
/// boot stack, at least 512 KiB of padding up to a 4 MiB boundary; then, outside the mapping, initrd or p2m
/// list and its tables. A pure function, of constant time. Errors: memory too small (says how many MiB it
/// takes), or the mappings do not fit into the guest's part of the address space.
[[nodiscard]] Loaded<Layout> plan_layout(const LayoutRequest& request);

}  // namespace pinfold::loader
