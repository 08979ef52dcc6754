// L1 entries that several vCPUs change at the same time, each holding the domain's lock together with the
// others.
//
// What stays as it is while anybody holds the lock so: which frames are the domain's and in its reservation,
// which are tables and have which mirror, everything above L1. All that needs the lock alone. So:
// - a table has at least one type reference throughout, and nobody here adds one to it or drops one; two who
//   write into one table exclude each other by one of `table_locks_`, so that entry and mirror agree;
// - a frame that an entry may name keeps its allocation's reference: no count reaches 0, and nothing has to
//   be given back. A frame that the guest has given up is left to who holds the lock alone;
// - a type changes in one way only, from nothing to writable data, and whoever changes it stores the same.
//   What a count of it says is at least as old as the lock: `writable` is refused for a table because its
//   count can't be 0, and given to what had none.
// A refusal is not made here: whoever is told false asks again with the lock held alone, and is refused
// there, with all that belongs to it.
#include <cstdlib>

#include "pvmmu/commit.hpp"
#include "pvmmu/entry_check.hpp"
#include "pvmmu/entry_rules.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

/// Is it the domain's as long as the lock is held by anyone, whatever happens to other references?
bool Validator::stays(Mfn mfn) const { return owns(mfn) && record(mfn).allocated; }

/// Is it a table whose mirror is complete?
bool Validator::stays_l1(Mfn mfn) const {
  if (mfn.raw() >= short_way_end_ || !owns(mfn)) return false;
  return Together::read(record(mfn).type) == FrameType::l1 && record(mfn).mirror != 0;
}

std::size_t Validator::update_together(Shared, MmuCounters& counters, std::span<const EntryUpdate> wanted) {
  if (flush_duty_) std::abort();  // whoever let go of the lock had to take it first
  std::size_t done = 0;
  while (done < wanted.size()) {
    const Mfn mfn = frame_of(wanted[done].where);
    if (!stays_l1(mfn)) break;
    const Frame& table = record(mfn);
    const std::lock_guard one_at_a_time(table_lock(mfn));
    do {
      const MachineAddr where(wanted[done].where.raw() & ~std::uint64_t{sizeof(Pte) - 1});
      if (!change_l1_together(where, table, wanted[done].want, counters)) return done;
      ++done;
    } while (done < wanted.size() && frame_of(wanted[done].where) == mfn);
  }
  return done;
}

/// The same as update_l1.
[[gnu::always_inline]] inline bool Validator::change_l1_together(MachineAddr where, const Frame& table,
                                                                 Pte want, MmuCounters& counters) {
  const Pte old(machine_.at(where.raw()).load(std::memory_order_relaxed));
  const MirrorEntry mirror = mirror_entry(table, where);
  const Pte mirrored = mirror.load();
  if (leaf_differs(old, mirrored)) [[unlikely]]
    return false;
  if (want.present()) {
    want = adjusted_l1(want);
    if (((old.raw() ^ want.raw()) & ~l1_flag_bits) == 0) {
      ++counters.entries_checked;
      commit(where, mirror, mirrored, CheckedEntry(want, mirror_of_adjusted_leaf(want)), counters);
      return true;
    }
  }
  if (old.present() && !stays(old.mfn())) return false;
  if (!want.present()) {
    commit(where, mirror, mirrored, CheckedEntry::not_present(want), counters);
  } else {
    if (!stays(want.mfn())) return false;
    const Checked entry = check_l1<Together>(want);
    if (!entry) return false;
    ++counters.entries_checked;
    commit(where, mirror, mirrored, *entry, counters);
  }
  drop_l1_entry<Together>(old);
  return true;
}

// A hold on data counts as a writable L1 entry does, and is judged as one.
namespace {
constexpr std::uint64_t writable_entry = bit::present | bit::writable;
}

bool Validator::try_hold_writable(Shared, Mfn mfn) {
  if (mfn.raw() >= short_way_end_ || !stays(mfn)) return false;
  return static_cast<bool>(check_l1<Together>(Pte(mfn, writable_entry)));
}

bool Validator::try_release_writable(Shared, Mfn mfn) {
  if (mfn.raw() >= short_way_end_ || !stays(mfn)) return false;
  if (Together::read(record(mfn).type) != FrameType::writable) return false;
  drop_l1_entry<Together>(Pte(mfn, writable_entry));
  return true;
}

void Validator::count(Held, const MmuCounters& together) {
  counters_.entries_checked += together.entries_checked;
  counters_.entries_stored += together.entries_stored;
}

}  // namespace pinfold::pvmmu
