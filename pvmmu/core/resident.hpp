// Which requests are finished inside the domain's VM, by code of the gate (vmm/gate/resident.cpp).
//
// They are the frequent ones that need no judgement. Nothing is refused here: if the answer is false, nothing
// was changed, and the monitor is asked with the same request. Whoever calls it shares the domain's lock, so
// what concurrent_update.cpp says of those who share it holds here as well.
//
// The policies are those of plain_l1.hpp. They are the only way to memory and records, so the same code runs
// in the gate and, for tests and replays, in a program.
#pragma once

#include <optional>

#include "pvmmu/core/plain_l1.hpp"

namespace pinfold::pvmmu {

/// What it was that was finished, for counters.
enum class ResidentWork : std::uint8_t { none, l1_entry, same_upper_entry, plain_data, root };
inline constexpr std::size_t resident_works = 5;

/// What an L1 entry becomes, which may depend on what it is.
struct L1Change {
  enum class Kind : std::uint8_t {
    store,       ///< `value`
    exchange,    ///< the same, for somebody who wants to know what it was
    store_keep,  ///< `value`, with the accessed and dirty bits that it has (PRESERVE_AD)
    clear_bits,  ///< what it is, without those of `value`
  };
  Kind kind = Kind::store;
  Pte value;
  [[nodiscard]] constexpr Pte of(Pte old) const {
    switch (kind) {
      case Kind::store:
      case Kind::exchange: break;
      case Kind::store_keep: return value.with(old.raw() & (bit::accessed | bit::dirty));
      case Kind::clear_bits: return old.without(value.raw());
    }
    return value;
  }
};

/// The entry that maps an address in an L1.
struct MappedBy {
  MachineAddr entry;
  bool writable = false;  ///< Do all levels above it permit stores?
};

/// What a store hits that the guest's tables may forbid.
struct StoreTarget {
  enum class Kind : std::uint8_t {
    unknown,
    l1_entry,   ///< An entry of an L1: the one at `entry`.
    forbidden,  ///< A page that is mapped, read-only, and no L1: the store is the guest's own page fault.
  };
  Kind kind = Kind::unknown;
  MachineAddr entry;
};

template <class Memory, class Records, class Locks>
class ResidentPath {
 public:
  ResidentPath(Memory memory, Records records, Locks locks, MmuCounters& counters)
      : memory_(memory), records_(records), locks_(locks), l1_(memory, records, locks, counters) {}

  /// An mmu_update request for the eight bytes at `where`. `keep`: accessed and dirty bits are kept
  /// (PRESERVE_AD). `change_l1`: what calls change(); code that must be small has one place for that.
  template <class ChangeL1>
  [[gnu::always_inline]] ResidentWork update(MachineAddr where, Pte want, bool keep, ChangeL1&& change_l1) {
    const Mfn mfn = frame_of(where);
    if (mfn.raw() >= records_.size()) return ResidentWork::none;
    const FrameFacts& facts = records_.facts(mfn);
    if (!facts.mine) return ResidentWork::none;
    const FrameType type = Records::Access::read(facts.type);
    if (type == FrameType::l1) {
      const L1Change change{keep ? L1Change::Kind::store_keep : L1Change::Kind::store, want};
      return change_l1(where, change) ? ResidentWork::l1_entry : ResidentWork::none;
    }
    if (is_protected(type)) return update_upper(facts, where, want);
    if (!facts.window) return ResidentWork::none;
    memory_.store(where, want);
    return ResidentWork::plain_data;
  }

  /// Changes an entry of an L1. Unless it is just stored, `old` becomes its value before, with the accessed
  /// bit that a processor may have set in the mirror. False: it was not done.
  [[gnu::always_inline]] bool change(MachineAddr where, L1Change change, Pte& old) {
    const Mfn mfn = frame_of(where);
    const FrameFacts& facts = records_.facts(mfn);
    if (!facts.window || facts.mirror == 0) return false;
    const auto locked = locks_.lock(mfn);
    if (!locked) return false;
    if (change.kind != L1Change::Kind::store) old = merged(facts, where);
    return l1_.update(facts, where, change.of(old)).is_done();
  }

  /// The entry that maps `va`, a guest's canonical address, in an L1. The levels are those of the guest's
  /// tables, each of which has to be a table of its level: so this is none behind a linear entry.
  [[gnu::always_inline]] std::optional<MappedBy> find_leaf(Mfn root, GuestVaddr va) const {
    Mfn table = root;
    std::uint64_t all = bit::writable;
    for (unsigned level = 4;; --level) {
      if (!is_table_of(table, static_cast<FrameType>(level))) return std::nullopt;
      const MachineAddr where = entry_address(table, slot_of(static_cast<Level>(level), va));
      if (level == 1) return MappedBy{where, all != 0};
      const Pte entry = memory_.load(where);
      if (!entry.present()) return std::nullopt;
      all &= entry.raw();
      table = entry.mfn();
    }
  }

  /// What the kernel's store to `va` hits, which is mapped `by` this entry, and which the processor refuses
  /// because the page is read-only.
  [[gnu::always_inline]] StoreTarget target_of_store(GuestVaddr va, MappedBy by) const {
    const Pte entry = memory_.load(by.entry);
    if (!entry.present()) return {};
    if (is_table_of(entry.mfn(), FrameType::l1))
      return {StoreTarget::Kind::l1_entry,
              MachineAddr(address_of(entry.mfn()).raw() + (offset_in_page(va) & ~(sizeof(Pte) - 1)))};
    if (by.writable && entry.writable()) return {};
    return {StoreTarget::Kind::forbidden, {}};
  }

  /// The mirror of a frame that may be loaded as a root as it is; 0 for others. It may be as long as the lock
  /// is shared. References to it are for whoever has the lock alone next (Validator::settle_root).
  [[nodiscard]] [[gnu::always_inline]] std::uint32_t root_mirror(Mfn wanted) const {
    return is_table_of(wanted, FrameType::l4) ? records_.facts(wanted).mirror : 0;
  }

 private:
  [[gnu::always_inline]] bool is_table_of(Mfn mfn, FrameType type) const {
    if (mfn.raw() >= records_.size()) return false;
    const FrameFacts& facts = records_.facts(mfn);
    return facts.mine && Records::Access::read(facts.type) == type && facts.validated;
  }
  /// As Validator::merged_entry().
  [[gnu::always_inline]] Pte merged(const FrameFacts& facts, MachineAddr where) {
    const Pte entry = memory_.load(where);
    if (!entry.present()) return entry;
    return entry.with(memory_.mirror(facts, where).load().raw() & bit::accessed);
  }

  /// An empty entry of a table of an upper level stays as it is, which changes nothing that a processor
  /// knows. (Linux clears entries that are clear.)
  [[gnu::always_inline]] ResidentWork update_upper(const FrameFacts& facts, MachineAddr where, Pte want) {
    if (want.present() || !facts.validated || facts.mirror == 0) return ResidentWork::none;
    if (facts.type == FrameType::l4 && is_xen_slot(offset_in_page(where) / sizeof(Pte)))
      return ResidentWork::none;
    if (memory_.mirror(facts, where).load() != Pte() || memory_.load(where) != want)
      return ResidentWork::none;
    return ResidentWork::same_upper_entry;
  }

  Memory memory_;
  Records records_;
  Locks locks_;
  PlainL1<Memory, Records, Locks> l1_;
};

}  // namespace pinfold::pvmmu
