#include "loader/layout.hpp"

#include <algorithm>
#include <string>

namespace pinfold::loader {
namespace {

constexpr std::uint64_t pages_per_boundary = (std::uint64_t{4} << 20) / page_size;
constexpr std::uint64_t padding_pages = (std::uint64_t{512} << 10) / page_size;
constexpr std::uint64_t max_pages = std::uint64_t{1} << 34;  // 64 TiB; keeps all sums far from overflow
constexpr std::uint64_t pages_per_mib = (std::uint64_t{1} << 20) / page_size;
constexpr std::size_t top_level = 4;

std::uint64_t pages_for(std::uint64_t bytes) { return bytes / page_size + (bytes % page_size != 0 ? 1 : 0); }

/// Which table of a level translates an address, counted from the bottom of the 48-bit space.
std::uint64_t table_index(std::size_t level, std::uint64_t va) {
  constexpr std::uint64_t va48 = (std::uint64_t{1} << 48) - 1;
  return (va & va48) >> (page_shift + 9 * level);
}

/// Tables for `mapping`, from the top level down, in frames from `first` on. Tables that `above`, the tables
/// of a mapping at higher addresses, has already are shared: at each level that can be the last one only.
TableRuns tables_for(const Mapping& mapping, Pfn first, const TableRuns* above) {
  TableRuns runs;
  Pfn next = first;
  for (std::size_t level = top_level; level >= 1; --level) {
    const std::uint64_t begin = table_index(level, mapping.va.raw());
    std::uint64_t end = table_index(level, mapping.last_byte()) + 1;
    if (above != nullptr) end = std::min(end, (*above)[level - 1].first_index);
    runs[level - 1] = {begin, {next, end > begin ? end - begin : 0}};
    next = runs[level - 1].frames.end();
  }
  return runs;
}

std::uint64_t count_tables(const TableRuns& runs) {
  std::uint64_t count = 0;
  for (const TableRun& run : runs) count += run.frames.count;
  return count;
}

/// Are all addresses of the mapping a guest's to use?
bool usable(const Mapping& mapping) {
  const std::uint64_t first = mapping.va.raw();
  const std::uint64_t last = mapping.last_byte();
  if (last < first || !is_canonical(first) || !is_canonical(last)) return false;
  if ((first >> 63) != (last >> 63)) return false;
  return last < xen_range_begin || first >= xen_range_end;
}

tl::unexpected<LoadError> refuse_addresses(const char* what) {
  return refuse(std::string(what) + " does not fit into the addresses that a guest may use");
}

/// Hands out frames from 0 upward.
class Packer {
 public:
  PfnRun take(std::uint64_t count) {
    const PfnRun run{next_, count};
    next_ = run.end();
    return run;
  }
  [[nodiscard]] Pfn next() const { return next_; }

 private:
  Pfn next_;
};

/// Ends the main mapping at a 4 MiB boundary of the address space with room for tables, boot stack and
/// padding, which depend on where it ends: so it grows until they fit.
Loaded<void> close_main_mapping(Packer& packer, const KernelAddresses& kernel, Layout& layout) {
  const std::uint64_t base_page = kernel.virt_base.raw() >> page_shift;
  const std::uint64_t used = packer.next().raw();
  std::uint64_t extra = 1 + padding_pages;
  for (;;) {
    // Strictly above: what ends on a boundary gets another 4 MiB.
    const std::uint64_t end_page = ((base_page + used + extra) / pages_per_boundary + 1) * pages_per_boundary;
    layout.main = {kernel.virt_base, {Pfn(0), end_page - base_page}};
    if (!usable(layout.main)) return refuse_addresses("kernel with initrd and page lists");
    layout.main_tables = tables_for(layout.main, packer.next(), nullptr);
    extra = count_tables(layout.main_tables) + 1 + padding_pages;
    if (used + extra <= layout.main.pages.count) break;
  }
  layout.page_tables = packer.take(count_tables(layout.main_tables));
  layout.boot_stack = packer.take(1).first;
  packer.take(layout.main.pages.count - packer.next().raw());
  return {};
}

Loaded<void> place_p2m_outside(Packer& packer, GuestVaddr at, std::uint64_t list_pages, Layout& layout) {
  layout.p2m = packer.take(list_pages);
  const Mapping mapping{at, layout.p2m};
  if (!usable(mapping) || mapping.last_byte() >= layout.main.va.raw())
    return refuse_addresses("p2m list (INIT_P2M)");
  layout.p2m_tables = tables_for(mapping, packer.next(), &layout.main_tables);
  layout.p2m_page_tables = packer.take(count_tables(layout.p2m_tables));
  layout.p2m_mapping = mapping;
  return {};
}

/// The layout if memory were endless.
Loaded<Layout> plan_unbounded(const LayoutRequest& request) {
  const KernelAddresses& kernel = request.kernel;
  const std::uint64_t initrd_pages = pages_for(request.initrd_size);
  const std::uint64_t p2m_pages =
      pages_for(std::max<std::uint64_t>(request.nr_pages, 1) * sizeof(std::uint64_t));
  const std::uint64_t kernel_first = kernel.physical(kernel.start) >> page_shift;
  const std::uint64_t kernel_end = (kernel.physical(kernel.end) - 1) / page_size + 1;
  if (kernel_end > max_pages || initrd_pages > max_pages) return refuse_addresses("kernel with initrd");

  Layout layout;
  Packer packer;
  packer.take(kernel_first);
  layout.kernel = packer.take(kernel_end - kernel_first);
  layout.initrd_mapped = !request.initrd_unmapped && initrd_pages != 0;
  if (layout.initrd_mapped) layout.initrd = packer.take(initrd_pages);
  if (!kernel.init_p2m) layout.p2m = packer.take(p2m_pages);
  layout.start_info = packer.take(1).first;
  layout.xenstore_ring = packer.take(1).first;
  layout.console_ring = packer.take(1).first;
  if (auto fits = close_main_mapping(packer, kernel, layout); !fits) return tl::unexpected(fits.error());
  if (!layout.initrd_mapped) layout.initrd = packer.take(initrd_pages);
  if (kernel.init_p2m) {
    auto fits = place_p2m_outside(packer, *kernel.init_p2m, p2m_pages, layout);
    if (!fits) return tl::unexpected(fits.error());
  }
  layout.end = packer.next();
  return layout;
}

std::string in_mib(std::uint64_t pages) {
  return std::to_string((pages + pages_per_mib - 1) / pages_per_mib) + " MiB";
}

/// The least memory that holds its own layout: more memory needs a longer p2m list, so this climbs to the
/// fixed point.
tl::unexpected<LoadError> refuse_memory(LayoutRequest request, std::uint64_t needed) {
  const std::uint64_t have = request.nr_pages;
  while (needed > request.nr_pages) {
    request.nr_pages = (needed + pages_per_mib - 1) / pages_per_mib * pages_per_mib;
    const auto larger = plan_unbounded(request);
    if (!larger) return tl::unexpected(larger.error());
    needed = larger->end.raw();
  }
  return refuse("memory of " + std::to_string(have / pages_per_mib) + " MiB is too small for this kernel (" +
                in_mib(pages_for(request.kernel.physical(request.kernel.end))) + ") and initrd (" +
                in_mib(pages_for(request.initrd_size)) + "): it takes at least " + in_mib(request.nr_pages));
}

}  // namespace

Pfn Layout::table_for(std::size_t level, std::uint64_t address) const {
  const std::uint64_t index = table_index(level, address);
  const auto in = [&](const TableRun& run) {
    return index >= run.first_index && index - run.first_index < run.frames.count;
  };
  const TableRun& own = main_tables[level - 1];
  const TableRun& run = in(own) ? own : p2m_tables[level - 1];
  return run.frames.first.plus(index - run.first_index);
}

Loaded<Layout> plan_layout(const LayoutRequest& request) {
  if (request.nr_pages > max_pages) return refuse("memory is larger than 64 TiB");
  auto layout = plan_unbounded(request);
  if (layout && layout->end.raw() > request.nr_pages) return refuse_memory(request, layout->end.raw());
  return layout;
}

}  // namespace pinfold::loader
