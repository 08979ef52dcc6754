// A machine of any size with one domain, to measure the validator without a guest.
#pragma once

#include <cstdint>
#include <vector>

#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu::bench {

/// Writable and dirty data, as a kernel maps it; an entry that names a table.
inline constexpr std::uint64_t data_flags =
    bit::present | bit::writable | bit::user | bit::accessed | bit::dirty;
inline constexpr std::uint64_t table_flags = bit::present | bit::writable | bit::user | bit::accessed;

/// Zeroed pages of a memory file, like the guest memory of the monitor: a page takes memory when it is
/// touched.
class SparsePages {
 public:
  explicit SparsePages(std::uint64_t pages);
  ~SparsePages();
  SparsePages(const SparsePages&) = delete;
  SparsePages& operator=(const SparsePages&) = delete;
  [[nodiscard]] Pages pages() const { return {base_, pages_}; }

 private:
  std::byte* base_;
  std::uint64_t pages_;
};

/// A view without a host: the cost of changing a frame's protection is the host's and is not measured here.
class NoView final : public FrameView {
 public:
  bool protect(Mfn) override { return true; }
  void unprotect(Mfn) override {}
  void grant(Mfn, std::uint64_t) override {}
  void revoke(Mfn) override {}
  bool lend(Mfn, Loan) override { return true; }
};

enum class Order : std::uint8_t { sequential, random };
/// The log of stale mirror entries, which only a host that shadows page tables needs.
enum class Log : std::uint8_t { off, on };

/// One domain that has the whole machine: L1 tables for half of its memory, spread over all of it, and two
/// data frames for each of their slots. There are at most 2048 tables, so that machines larger than the host
/// can be tried.
class World {
 public:
  /// Sequential: neighbouring numbers are neighbouring slots and frames. Random: in no order, from all parts
  /// of the machine. `watcher`: gets the trace; may be null.
  World(std::uint64_t machine_mib, Order order, Log log, TraceSink* watcher = nullptr);

  /// The number of slots in all L1 tables.
  [[nodiscard]] std::uint64_t slots() const { return slots_.size(); }
  [[nodiscard]] MachineAddr address(std::uint64_t number) const;
  [[nodiscard]] GuestVaddr virtual_address(std::uint64_t number) const;
  /// A data frame; no two numbers below 2 * slots() name the same one.
  [[nodiscard]] Mfn data(std::uint64_t number) const { return data_[number]; }
  /// Writes data(number) into each slot of the tables, as a guest does before the tables are validated.
  void fill() const;
  /// Links the L1 tables into a tree and pins two roots of it.
  void pin_tree();
  [[nodiscard]] const std::vector<Mfn>& tables() const { return tables_; }
  /// The mutex that `held` holds. A thread of its own unlocks `held`, and locks this for each operation.
  [[nodiscard]] DomainMutex& mutex() { return mutex_; }
  [[nodiscard]] Mfn root() const { return roots_[0]; }
  [[nodiscard]] Mfn other_root() const { return roots_[1]; }

  /// What the monitor does when a guest flushes, or when the log has become long.
  void flush_if_due() {
    if (!stale_.wants_draining() && mirrors_.retired() < StaleLog::enough) return;
    mmu.stale_entries_settled(held, stale_.end());
    mmu.retired_mirrors_forgotten(held, mirrors_.retired_end());
  }

 private:
  void link(Mfn table, std::size_t slot, Mfn child) const {
    memory_.pages().store(table.raw(), slot, Pte(child, table_flags).raw());
  }

  SparsePages memory_;
  SparsePages m2p_;
  SparsePages arena_;
  FrameTable frames_;
  MirrorArena mirrors_;
  StaleLog stale_;
  NoView view_;
  DomainMutex mutex_;
  std::vector<Mfn> tables_;
  std::vector<Mfn> data_;
  std::vector<std::uint32_t> slots_;  ///< By number: table * 512 + slot.
  std::vector<Mfn> l2s_;
  std::array<Mfn, 2> roots_;
  Mfn l3_;

 public:
  Validator mmu;
  DomainLock held;
};

}  // namespace pinfold::pvmmu::bench
