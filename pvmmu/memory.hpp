// Access to the memory of the machine and of the mirrors: whole aligned entries, one load or store each.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstring>

#include "pvmmu/pte.hpp"

namespace pinfold::pvmmu {

/// Pages in one contiguous mapping of the monitor: page i is at base + i * 4096. Does not own them. The guest
/// may read and write the memory at any time, and a processor may set accessed bits in mirrors, so each
/// access is one atomic load or store.
class Pages {
 public:
  /// Of a cache line.
  static constexpr std::size_t entries_per_line = 8;

  Pages() = default;
  /// `base` is 4 KiB aligned; `count` pages follow it.
  Pages(std::byte* base, std::uint64_t count) : base_(base), count_(count) {}

  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] std::byte* page(std::uint64_t index) const { return base_ + index * page_size; }
  [[nodiscard]] std::uint64_t load(std::uint64_t index, std::size_t slot) const {
    return word(index, slot).load(std::memory_order_relaxed);
  }
  void store(std::uint64_t index, std::size_t slot, std::uint64_t value) const {
    word(index, slot).store(value, std::memory_order_relaxed);
  }
  /// The next slot of a table, from `slot` on, that has to be looked at: it skips lines of eight entries none
  /// of which is present. entries_per_table if there is none.
  [[nodiscard]] std::size_t next_used(std::uint64_t index, std::size_t slot) const {
    if (slot % entries_per_line != 0) return slot;
    const std::uint64_t* const table = words(index);
    while (slot < entries_per_table && !line_is_used(table + slot)) slot += entries_per_line;
    return slot;
  }
  /// The same backwards: returns the end of the entries before `end` that have to be looked at; 0 if there
  /// are none.
  [[nodiscard]] std::size_t last_used(std::uint64_t index, std::size_t end) const {
    if (end % entries_per_line != 0) return end;
    const std::uint64_t* const table = words(index);
    while (end > 0 && !line_is_used(table + end - entries_per_line)) end -= entries_per_line;
    return end;
  }
  /// The entry `byte` bytes after the first page's beginning; a multiple of 8.
  [[nodiscard]] std::atomic_ref<std::uint64_t> at(std::uint64_t byte) const {
    return std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(base_ + byte));
  }
  void clear(std::uint64_t index) const { std::memset(page(index), 0, page_size); }
  void copy(std::uint64_t to, std::uint64_t from) const { std::memcpy(page(to), page(from), page_size); }

 private:
  [[nodiscard]] std::uint64_t* words(std::uint64_t index) const {
    return reinterpret_cast<std::uint64_t*>(page(index));
  }
  /// Reads all entries of a line at once, which is no atomic load: it decides only whether to look at each.
  [[nodiscard]] static bool line_is_used(const std::uint64_t* line) {
    using Two [[gnu::vector_size(16), gnu::may_alias]] = std::uint64_t;
    const auto* const pairs = reinterpret_cast<const Two*>(line);
    const Two any = pairs[0] | pairs[1] | pairs[2] | pairs[3];
    return Pte(any[0] | any[1]).present();
  }
  [[nodiscard]] std::atomic_ref<std::uint64_t> word(std::uint64_t index, std::size_t slot) const {
    return std::atomic_ref<std::uint64_t>(words(index)[slot]);
  }
  std::byte* base_ = nullptr;
  std::uint64_t count_ = 0;
};

}  // namespace pinfold::pvmmu
