// What refers to what in a live domain: every page table with its users, and every entry that maps a frame.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

/// A present entry of a live table. `entry` is the guest's, with the accessed bit that the processor set in
/// the mirror.
struct EntryPlace {
  Mfn table;
  Level level = Level::l1;
  std::uint16_t slot = 0;
  Pte entry;
};

/// A use of a frame other than by a table's entry. The validator does not know who it is: loaded roots and
/// descriptor tables belong to vCPUs, shared pages hold a vcpu_info or event queues.
struct OutsideUser {
  /// root, descriptors: the exact kind is not known, since a log does not have it. reader: a use of a grant
  /// that only reads, whose reference has no type.
  enum class Kind : std::uint8_t {
    kernel_root,
    user_root,
    gdt,
    ldt,
    shared,
    reader,
    root,
    descriptors,
    other
  };
  Mfn frame;
  Kind kind = Kind::other;
  VcpuId vcpu;
};

/// One live table as the search found it: a validated one, or one whose check was interrupted.
struct TableReport {
  Mfn table;
  Level level = Level::l1;
  bool validated = false;  ///< If not, only its first entries were checked, and only those are reported.
  bool pinned = false;
  bool allocated = false;        ///< In the domain's reservation; if not, only its users keep it.
  std::uint32_t references = 0;  ///< General ones: the allocation, mappings of any kind, type references.
  /// Entries that name it as a table, the pin, loaded roots; if it is not validated, one of its own.
  std::uint32_t type_references = 0;
  std::uint32_t present = 0;         ///< Present entries, without the monitor's own slots of an L4.
  std::vector<EntryPlace> children;  ///< Levels 2 to 4: the present entries. Each names a table.
};

/// How many tables a step looks at by default: 64 tables are 256 KiB to read, some 20 us.
inline constexpr std::size_t tables_a_step = 64;

/// Goes through the live tables of a domain, mirror by mirror: it takes as many steps as the arena ever had
/// mirrors at once, however large the machine is. The lock may be released between steps, and the guest may
/// change its tables then. A table that is live all the time is returned exactly once; a table that appears
/// or disappears meanwhile may or may not be returned.
class TableCursor {
 public:
  /// The next tables: at most `most`. It may return none although there are more.
  [[nodiscard]] std::vector<Mfn> next(Held, const Validator& mmu, std::size_t most = tables_a_step);
  /// Did the last call of `next` reach the end?
  [[nodiscard]] bool done() const { return done_; }

 private:
  std::uint32_t at_ = 1;  ///< The mirror that comes next: a table keeps its mirror as long as it lives.
  bool done_ = false;
};

/// Reports every live table of a domain, step by step.
class TableSearch {
 public:
  /// Adds the reports of the next tables to `found`; true while there may be more.
  bool step(Held held, const Validator& mmu, std::vector<TableReport>& found,
            std::size_t most = tables_a_step);

 private:
  TableCursor cursor_;
};

/// Finds every present entry of the domain's live tables that names one frame, step by step. An entry that is
/// there all the time is found exactly once. Any frame number may be asked for.
class FrameSearch {
 public:
  explicit FrameSearch(Mfn frame) : frame_(frame) {}
  /// Adds the entries in the next tables to `found`, at most 512 a table; true while there may be more.
  bool step(Held held, const Validator& mmu, std::vector<EntryPlace>& found,
            std::size_t most = tables_a_step);

 private:
  [[nodiscard]] bool may_be_named_at(const Validator& mmu, Level level) const;
  Mfn frame_;
  TableCursor cursor_;
};

/// Where a page is seen: under this root, from this address on.
struct SeenAt {
  Mfn root;
  GuestVaddr va;
};

/// The tables of a domain and who refers to each, put together from the reports of a search. A value: asking
/// it takes no lock.
class Inventory {
 public:
  Inventory() = default;
  Inventory(std::vector<TableReport> reports, std::vector<OutsideUser> outside);

  /// In the order in which the search found them.
  [[nodiscard]] const std::vector<TableReport>& tables() const { return tables_; }
  [[nodiscard]] const TableReport* find(Mfn table) const;
  /// The entries that name the table: one level up, or, if they are linear, of its own level.
  [[nodiscard]] std::span<const EntryPlace> entries_naming(Mfn table) const;
  /// The loaded roots and the like that hold the frame.
  [[nodiscard]] std::vector<OutsideUser> users_outside(Mfn frame) const;
  /// Do the users that were found add up to the table's type references? Always, if nothing changed between
  /// the steps and no table is being released.
  [[nodiscard]] bool explains(const TableReport& table) const;

  /// The virtual addresses that an entry translates, under any live root. Tables may be shared, so that one
  /// entry has very many addresses: at most `most` are given, and `complete` says whether that is all.
  struct Addresses {
    std::vector<SeenAt> seen;
    bool complete = true;
  };
  [[nodiscard]] Addresses addresses(const EntryPlace& entry, std::size_t most = 64) const;

 private:
  struct Climb;
  void climb(Climb& c, Mfn table, Level level, std::uint64_t va) const;
  std::vector<TableReport> tables_;
  std::vector<OutsideUser> outside_;
  std::unordered_map<Mfn, std::size_t> index_;
  std::unordered_map<Mfn, std::vector<EntryPlace>> naming_;
};

/// The whole inventory. After each step it releases the lock and calls `between`, which lets others take the
/// lock (a mutex alone is not fair). `lock` is locked before and after the call.
template <class Between>
[[nodiscard]] Inventory take_inventory(DomainLock& lock, const Validator& mmu,
                                       std::vector<OutsideUser> outside, Between between,
                                       std::size_t most = tables_a_step) {
  std::vector<TableReport> reports;
  for (TableSearch search; search.step(lock, mmu, reports, most);) {
    lock.unlock();
    between();
    lock.lock();
  }
  return Inventory(std::move(reports), std::move(outside));
}

/// All entries that map a frame, in the same way.
template <class Between>
[[nodiscard]] std::vector<EntryPlace> entries_mapping(DomainLock& lock, const Validator& mmu, Mfn frame,
                                                      Between between, std::size_t most = tables_a_step) {
  std::vector<EntryPlace> found;
  for (FrameSearch search(frame); search.step(lock, mmu, found, most);) {
    lock.unlock();
    between();
    lock.lock();
  }
  return found;
}

}  // namespace pinfold::pvmmu
