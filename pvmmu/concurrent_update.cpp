// L1 entries that several vCPUs change at the same time, and data frames that devices hold meanwhile: each
// shares the domain's lock with the others.
//
// As long as anybody shares the lock, some things stay as they are: which frames are the domain's and in its
// reservation, which are tables and have which mirror, and everything above L1. Whatever changes these needs
// the lock alone. So:
//
// - A table has at least one type reference throughout, and nobody here adds one to it or drops one. Two
//   vCPUs that write into one table exclude each other by a lock of the table (ConcurrentLocks), so that
//   entry and mirror agree.
// - A frame that an entry may name, or a device may hold, is in the reservation and stays there. That is a
//   reference of its own, so nothing has to be given back, whatever the counts of entries and holds become.
//   A frame that the guest has given up is left to whoever holds the lock alone.
// - A type changes in one way only, from nothing to writable data, and everyone who changes it stores the
//   same value. A table's holds can't reach 0 while the lock is shared: only frames of the type writable are
//   held and released here. So `writable` is always refused for a table and given to a frame that had no
//   type.
// - Entries and holds are counted apart (FrameUses, holds), each by atomic additions.
//
// Nothing is refused here. If the answer is false or too short, the caller asks again with the lock held
// alone; a refusal is made there, with its reason and its counters.
#include <cstdlib>

#include "pvmmu/entry_rules.hpp"
#include "pvmmu/validator_l1.hpp"

namespace pinfold::pvmmu {

/// Is the frame the domain's as long as anyone shares the lock, whatever happens to its other references?
bool Validator::stays(Mfn mfn) const { return owns(mfn) && facts(mfn).allocated; }

/// Is it an L1 whose mirror is complete? Always false while a sink watches.
bool Validator::stays_l1(Mfn mfn) const {
  if (mfn.raw() >= short_way_end_ || !owns(mfn)) return false;
  return SharedAccess::read(facts(mfn).type) == FrameType::l1 && facts(mfn).mirror != 0;
}

std::size_t Validator::update_concurrently(Shared, MmuCounters& counters,
                                           std::span<const EntryUpdate> wanted) {
  if (flush_duty_) std::abort();  // the caller had to take it before it released the lock
  return shared_l1(counters).update_leading(wanted);
}

void Validator::count(Held, const MmuCounters& concurrent) {
  counters_.entries_checked += concurrent.entries_checked;
  counters_.entries_stored += concurrent.entries_stored;
}

bool Validator::try_hold_writable(Shared, Mfn mfn) {
  if (mfn.raw() >= short_way_end_ || !stays(mfn)) return false;
  const std::atomic_ref holds(records_.holds(mfn));
  if (holds.load(std::memory_order_relaxed) >= max_references) return false;
  if (const FrameType type = SharedAccess::read(facts(mfn).type); type != FrameType::writable) {
    if (is_protected(type)) return false;
    SharedAccess::become_writable(mutable_facts(mfn));
  }
  holds.fetch_add(1, std::memory_order_relaxed);
  return true;
}

bool Validator::try_release_writable(Shared, Mfn mfn) {
  if (mfn.raw() >= short_way_end_ || !stays(mfn)) return false;
  if (SharedAccess::read(facts(mfn).type) != FrameType::writable) return false;
  std::atomic_ref(records_.holds(mfn)).fetch_sub(1, std::memory_order_relaxed);
  return true;
}

}  // namespace pinfold::pvmmu
