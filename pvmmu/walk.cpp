// Walking a guest's own tables in software, and the accessed and dirty bits that a walk leaves behind.
#include "pvmmu/commit.hpp"
#include "pvmmu/entry_rules.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

std::optional<Leaf> Validator::walk(Held, Mfn root, GuestVaddr va) const {
  if (root == no_mfn || !is_canonical(va.raw()) || in_xen_range(va.raw())) return std::nullopt;
  Leaf leaf{root, 0, Pte(), true, true};
  std::uint64_t all = ~0ULL, any = 0;  // bits that all entries have, that any has
  for (Level level = Level::l4;; level = below(level)) {
    leaf.slot = static_cast<std::uint16_t>(slot_of(level, va));
    leaf.entry = Pte(machine_.load(leaf.table.raw(), leaf.slot));
    if (!leaf.entry.present()) {
      if (level != Level::l1) return std::nullopt;
      break;
    }
    all &= leaf.entry.raw();
    any |= leaf.entry.raw();
    if (level == Level::l1) break;
    leaf.table = leaf.entry.mfn();
  }
  leaf.writable = (all & bit::writable) != 0;
  leaf.executable = (any & bit::no_execute) == 0;
  return leaf;
}

Pte Validator::merged_entry(Held, Mfn table, std::size_t slot) const {
  const Pte guest(machine_.load(table.raw(), slot));
  const Frame& frame = frames_[table];
  if (!guest.present() || frame.mirror == 0) return guest;
  return guest.with(mirrors_.load(MirrorId(frame.mirror), slot).raw() & bit::accessed);
}

bool Validator::agrees_with_mirror(Held, const Leaf& leaf) const {
  if (!owns(leaf.table) || frames_[leaf.table].mirror == 0) return false;
  constexpr std::uint64_t marks = bit::accessed | bit::dirty;
  const Pte mirrored = mirrors_.load(MirrorId(frames_[leaf.table].mirror), leaf.slot);
  return mirrored.without(marks) == mirror_leaf(leaf.entry).without(marks);
}

bool Validator::touch(Held held, const Leaf& leaf, bool write) {
  if (!leaf.entry.present() || (write && !leaf.writable)) return false;
  const std::uint64_t marks = write ? bit::accessed | bit::dirty : bit::accessed;
  if (leaf.entry.has(marks)) return true;
  if (!agrees_with_mirror(held, leaf)) return false;
  if (write && !leaf.entry.any(bit::dirty)) ++counters_.dirty_faults;
  const Pte marked = leaf.entry.with(marks);
  if (trace_ != nullptr) tell_touch(leaf, marked, write);
  commit(entry_address(leaf.table, leaf.slot), frames_[leaf.table], CheckedEntry(marked, mirror_leaf(marked)),
         counters_);
  return true;
}

Mfn Validator::mirror_of_root(Held, Mfn root) const { return mirrors_.frame(MirrorId(frames_[root].mirror)); }

void Validator::hide_machphys(Held, Mfn root) {
  const MirrorId mirror(frames_[root].mirror);
  const Pte before = mirrors_.load(mirror, machphys_slot_);
  if (!before.present()) return;
  if (trace_ != nullptr) tell_within(TraceKind::hide_machphys, root, FrameType::none);
  mirrors_.store(mirror, machphys_slot_, Pte());
  stale_.changed(mirror, machphys_slot_, before);
  flush_duty_ = true;
}

}  // namespace pinfold::pvmmu
