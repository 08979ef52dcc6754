#include "loader/initial_tables.hpp"

#include <cstring>

namespace pinfold::loader {
namespace {

// Intel SDM vol. 3A, 4.5, tables 4-15 to 4-20.
constexpr std::uint64_t present = 1U << 0, writable = 1U << 1, user = 1U << 2, accessed = 1U << 5,
                        dirty = 1U << 6;
// No user bit in leaves: a 64-bit PV kernel's own mappings get it from the hypervisor.
constexpr std::uint64_t leaf_flags = present | writable | accessed | dirty;
constexpr std::uint64_t table_leaf_flags = present | accessed;
constexpr std::uint64_t upper_flags = present | writable | user | accessed | dirty;
constexpr std::uint64_t entries = 512;

class Writer {
 public:
  Writer(const Layout& layout, const PseudoPhysical& memory) : layout_(layout), memory_(memory) {}

  void map(const Mapping& mapping) {
    for (std::uint64_t i = 0; i < mapping.pages.count; ++i) {
      const Pfn pfn = mapping.pages.first.plus(i);
      const std::uint64_t va = mapping.va.raw() + i * page_size;
      store(layout_.table_for(1, va), (va >> page_shift) % entries, pfn,
            layout_.is_page_table(pfn) ? table_leaf_flags : leaf_flags);
    }
  }

  /// Links the run's tables of `level` from the level above. Their addresses lie in one canonical half.
  void link(const TableRun& run, std::size_t level) {
    for (std::uint64_t i = 0; i < run.frames.count; ++i) {
      const std::uint64_t index = run.first_index + i;
      store(layout_.table_for(level + 1, index << (page_shift + 9 * level)), index % entries,
            run.frames.first.plus(i), upper_flags);
    }
  }

 private:
  void store(Pfn table, std::uint64_t slot, Pfn target, std::uint64_t flags) {
    const std::uint64_t entry = address_of(memory_.frame(target)).raw() | flags;
    std::memcpy(memory_.page(table) + slot * sizeof entry, &entry, sizeof entry);
  }

  const Layout& layout_;
  const PseudoPhysical& memory_;
};

}  // namespace

void write_initial_tables(const Layout& layout, const PseudoPhysical& memory) {
  Writer writer(layout, memory);
  writer.map(layout.main);
  if (layout.p2m_mapping) writer.map(*layout.p2m_mapping);
  for (std::size_t level = 1; level <= 3; ++level) {
    writer.link(layout.main_tables[level - 1], level);
    writer.link(layout.p2m_tables[level - 1], level);
  }
}

}  // namespace pinfold::loader
