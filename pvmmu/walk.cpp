// Walking a guest's own tables in software, and the accessed and dirty bits that a walk leaves behind.
#include "pvmmu/entry_rules.hpp"
#include "pvmmu/traced_operation.hpp"
#include "pvmmu/validator_l1.hpp"

namespace pinfold::pvmmu {

/// Follows the mirrors. Each of their entries was checked; only code that took over the gate can have changed
/// one. Even then the walk passes only through mirrors of the domain, and it ends only at one that belongs to
/// an L1.
[[gnu::always_inline]] inline std::optional<Leaf> Validator::follow_mirrors(Mfn root, GuestVaddr va) const {
  if (root == no_mfn || !is_canonical(va.raw()) || in_xen_range(va.raw())) return std::nullopt;
  MirrorId mirror(facts(root).mirror);
  std::uint64_t all = ~0ULL, any = 0;  // bits that all entries have, that any has
#pragma GCC unroll 3
  for (Level level = Level::l4; level != Level::l1; level = below(level)) {
    const Pte entry = mirrors_.load(mirror, slot_of(level, va));
    if (!entry.present()) return std::nullopt;
    all &= entry.raw();
    any |= entry.raw();
    mirror = mirrors_.at(entry.mfn());
    if (mirror == no_mirror) [[unlikely]] {
      if (!windows_.empty()) return std::nullopt;  // find_linear() looks closer
      note_breach(Where{root, slot_of(Level::l4, va), level}, Pte(), entry);
      return std::nullopt;
    }
  }
  const Mfn table = mirrors_.table_of(mirror);
  if (!owns(table) || facts(table).mirror != mirror.raw() || facts(table).type != FrameType::l1)
      [[unlikely]] {
    if (!windows_.empty()) return std::nullopt;
    note_breach(Where{root, slot_of(Level::l4, va), Level::l4}, Pte(), Pte(mirrors_.frame(mirror), 0));
    return std::nullopt;
  }
  return Leaf{table, static_cast<std::uint16_t>(slot_of(Level::l1, va)), Pte(), (all & bit::writable) != 0,
              (any & bit::no_execute) == 0};
}

std::optional<Leaf> Validator::find_leaf(Mfn root, GuestVaddr va) const {
  auto leaf = follow_mirrors(root, va);
  if (!leaf && !windows_.empty()) [[unlikely]]
    (void)find_linear(root, va);  // for a breach that it may find
  return leaf;
}

std::optional<Leaf> Validator::walk(Held, Mfn root, GuestVaddr va) const {
  auto leaf = follow_mirrors(root, va);
  if (!leaf) return windows_.empty() ? std::nullopt : find_linear(root, va);
  leaf->entry = Pte(machine_.load(leaf->table.raw(), leaf->slot));
  const Pte mirrored = mirrors_.load(MirrorId(facts(leaf->table).mirror), leaf->slot);
  if (leaf_differs(leaf->entry, mirrored)) [[unlikely]] {
    note_breach(Where{leaf->table, leaf->slot}, leaf->entry, mirrored);
    return std::nullopt;
  }
  const bool present = leaf->entry.present();
  leaf->writable = leaf->writable && (!present || leaf->entry.writable());
  leaf->executable = leaf->executable && !(present && leaf->entry.any(bit::no_execute));
  return leaf;
}

Pte Validator::merged_entry(Held, Mfn table, std::size_t slot) const {
  const Pte guest(machine_.load(table.raw(), slot));
  const MirrorId mirror(facts(table).mirror);
  if (!guest.present() || mirror == no_mirror) return guest;
  return guest.with(mirrors_.load(mirror, slot).raw() & bit::accessed);
}

bool Validator::touch(Held, const Leaf& leaf, bool write) {
  if (!leaf.entry.present() || (write && !leaf.writable)) return false;
  if (leaf.linear) return true;  // the bits of upper entries are the guest's own
  const std::uint64_t marks = write ? bit::accessed | bit::dirty : bit::accessed;
  if (leaf.entry.has(marks)) return true;
  const MachineAddr where = entry_address(leaf.table, leaf.slot);
  const MirrorEntry mirror = mirror_entry(facts(leaf.table), where);
  const Pte mirrored = mirror.load();
  if (leaf_differs(leaf.entry, mirrored)) [[unlikely]] {
    note_breach(Where{leaf.table, leaf.slot}, leaf.entry, mirrored);
    return false;
  }
  if (write && !leaf.entry.any(bit::dirty)) ++counters_.dirty_faults;
  const Pte marked = leaf.entry.with(marks);
  TracedOperation traced(*this, TraceKind::touch);
  if (traced) {
    traced.changes_entry(leaf.table, leaf.slot, marked);
    traced->marks.write = write;
  }
  commit(L1Memory{*this}, where, mirror, mirrored, CheckedEntry(marked, mirror_of_adjusted_leaf(marked)),
         counters_);
  return true;
}

Mfn Validator::mirror_of_root(Held, Mfn root) const { return mirrors_.frame(MirrorId(facts(root).mirror)); }

void Validator::hide_machphys(Held, Mfn root) {
  const MirrorId mirror(facts(root).mirror);
  const Pte before = mirrors_.load(mirror, machphys_slot_);
  if (!before.present()) return;
  if (trace_ != nullptr) trace_hidden_machphys(root);
  mirrors_.store(mirror, machphys_slot_, Pte());
  stale_.changed(mirror, machphys_slot_, before);
  flush_duty_ = true;
}

}  // namespace pinfold::pvmmu
