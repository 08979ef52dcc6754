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

/// A use of a frame that no table's entry makes. Only whoever holds it knows it: loaded roots and descriptor
/// tables belong to vCPUs; shared pages are those with a vcpu_info or event queues.
struct OutsideUser {
  /// root, descriptors: of which kind is not known (a log does not say).
  enum class Kind : std::uint8_t { kernel_root, user_root, gdt, ldt, shared, root, descriptors, other };
  Mfn frame;
  Kind kind = Kind::other;
  VcpuId vcpu;
};

/// One live table, as it was when the search came by: a validated one, or one whose check was interrupted.
struct TableReport {
  Mfn table;
  Level level = Level::l1;
  bool validated = false;  ///< Else only its first entries were checked, and are told of here.
  bool pinned = false;
  bool allocated = false;        ///< In the domain's reservation; else only its users keep it.
  std::uint32_t references = 0;  ///< General ones: the allocation, mappings of any kind, and the next.
  std::uint32_t type_references =
      0;  ///< Entries that name it as a table, pin, loaded roots; itself, if not validated.
  std::uint32_t present = 0;         ///< Entries that are present, the monitor's own slots of an L4 aside.
  std::vector<EntryPlace> children;  ///< Levels 2 to 4: the present entries. Each names a table.
};

/// Tables that a step looks at if nobody says otherwise: 64 tables are 256 KiB to read, some 20 us.
inline constexpr std::size_t tables_a_step = 64;

/// Goes through the live tables of a domain, and through nothing else: the way is as long as the arena
/// has ever had tables at once, however large the machine. The lock may be dropped between steps, and the
/// guest may change its tables then. A table that is live all the while comes exactly once; one that comes or
/// goes meanwhile, perhaps.
class TableCursor {
 public:
  /// The next tables: at most `most`, perhaps none although there are more.
  [[nodiscard]] std::vector<Mfn> next(Held, const Validator& mmu, std::size_t most = tables_a_step);
  /// Was there nothing left when `next` was called last?
  [[nodiscard]] bool done() const { return done_; }

 private:
  std::uint32_t at_ = 1;  ///< The mirror that comes next: a table keeps its mirror as long as it lives.
  bool done_ = false;
};

/// Every live table of a domain; a step at a time.
class TableSearch {
 public:
  /// Adds the reports of the next tables to `found`; true while there may be more.
  bool step(Held held, const Validator& mmu, std::vector<TableReport>& found,
            std::size_t most = tables_a_step);

 private:
  TableCursor cursor_;
};

/// Every present entry of the domain's live tables that names one frame; a step at a time. An entry that is
/// there all the while is found exactly once. The frame may be anything: one that the domain has no entry of
/// is not found anywhere.
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

  /// In the order of the search.
  [[nodiscard]] const std::vector<TableReport>& tables() const { return tables_; }
  [[nodiscard]] const TableReport* find(Mfn table) const;
  /// The entries, all one level up, that name the table.
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

/// The whole inventory, the lock dropped after each step; `between` is called then, without it (to let others
/// in: a mutex alone is not fair). Takes and leaves `lock` locked.
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
