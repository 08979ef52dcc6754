// The page-table operations of the ABI: mmu_update, update_va_mapping, pins, roots, whole pages.
#include "pvmmu/commit.hpp"
#include "pvmmu/entry_check.hpp"
#include "pvmmu/entry_rules.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

Validator::Validator(const ValidatorParts& p)
    : domain_(p.domain),
      self_plus_1_(static_cast<std::uint16_t>(p.domain.raw() + 1)),
      frames_(p.frames),
      records_(p.frames.records()),
      machine_(p.machine),
      m2p_(p.m2p),
      mirrors_(p.mirrors),
      stale_(p.stale),
      view_(p.view),
      l4_xen_slots_(p.l4_xen_slots),
      machphys_slot_(p.machphys_slot),
      max_frames_(p.max_frames) {}

Verdict<> Validator::check_owned(Mfn mfn) {
  if (!frames_.contains(mfn)) return refuse(Rule::frame_out_of_range, mfn);
  if (!owns(mfn)) return refuse(Rule::frame_not_owned, mfn);
  return {};
}

/// Inline in the three ways to an L1 entry as far as its flags alone change; more is a call.
[[gnu::always_inline]] inline Verdict<> Validator::update_l1(Where where, Pte want, Preserve preserve) {
  const Frame& table = record(where.table);
  const Pte old(machine_.load(where.table.raw(), where.slot));
  Verdict<> verdict;
  if (!want.present()) {
    commit(where, table, CheckedEntry::not_present(want));
    drop_l1_entry(old);
    return verdict;
  }
  if (preserve == Preserve::accessed_and_dirty) [[unlikely]] {
    const std::uint64_t seen =
        old.raw() | (mirrors_.load(MirrorId(table.mirror), where.slot).raw() & bit::accessed);
    want = want.with(seen & (bit::accessed | bit::dirty));
  }
  want = adjusted_l1(want);
  // P is not among the flags: the old entry is present as well.
  if (((old.raw() ^ want.raw()) & ~l1_flag_bits) == 0) {
    ++counters_.entries_checked;
    commit(where, table, CheckedEntry(want, mirror_leaf(want)));
    return verdict;
  }
  replace_l1(verdict, where, old, want);
  return verdict;
}

void Validator::replace_l1(Verdict<>& verdict, Where where, Pte old, Pte want) {
  const Checked entry = check_l1(want);
  if (!entry) [[unlikely]] {
    verdict = refuse(entry.rule(), where, want, want.mfn());
    return;
  }
  commit(where, record(where.table), *entry);
  drop_l1_entry(old);
}

/// Notes what a processor may still know of the entry that was there.
void Validator::log_stale(MirrorId mirror, std::size_t slot, Pte before, Pte now) {
  if (narrows(before, now)) stale_.changed(mirror, slot, before);
}

Verdict<> Validator::update(Held, MachineAddr where, Pte want, Preserve preserve) {
  const Mfn mfn = frame_of(where);
  const std::size_t slot = offset_in_page(where) / sizeof(Pte);
  if (!owns(mfn)) [[unlikely]]
    return check_owned(mfn);

  const Frame& frame = record(mfn);
  if (frame.type_count != 0) {
    if (frame.type == FrameType::l1) return update_l1(Where{mfn, slot}, want, preserve);
    if (is_table(frame.type)) return update_upper(mfn, slot, want, preserve);
  }
  return update_data(mfn, slot, want);
}

Verdict<> Validator::update_data(Mfn mfn, std::size_t slot, Pte want) {
  if (transition(record(mfn), FrameType::writable) == Transition::refuse)
    return refuse(Rule::frame_not_a_table, Where{mfn, slot}, want, mfn);
  machine_.store(mfn.raw(), slot, want.raw());
  return {};
}

Verdict<> Validator::update_va(Held held, Mfn root, GuestVaddr va, Pte want) {
  const auto leaf = walk(held, root, va);
  if (!leaf) return refuse(Rule::va_no_l1, Where{}, want);
  return update_l1(Where{leaf->table, leaf->slot}, want, Preserve::nothing);
}

Verdict<> Validator::update_l1_by_store(Held, const Leaf& target, std::size_t slot, Pte want) {
  const Mfn table = target.entry.mfn();
  if (!owns(table) || frames_[table].type != FrameType::l1 || frames_[table].type_count == 0)
    return refuse(Rule::ptwr_not_l1, Where{table, slot}, want, table);
  return update_l1(Where{table, slot}, want, Preserve::nothing);
}

Verdict<> Validator::update_upper(Mfn table, std::size_t slot, Pte want, Preserve preserve) {
  Frame& frame = frames_[table];
  const Level level = level_of(frame.type);
  const Where where{table, slot, level};
  if (level == Level::l4 && is_xen_slot(slot)) return refuse(Rule::l4_xen_slot, where, want);

  const Pte old(machine_.load(table.raw(), slot));
  if (!want.present()) {
    commit(where, frame, CheckedEntry::not_present(want));
    flush_duty_ = true;
    drop_entry(level, old);
    return {};
  }
  if (preserve == Preserve::accessed_and_dirty) want = want.with(old.raw() & (bit::accessed | bit::dirty));
  want = adjusted_upper(level, want);
  flush_duty_ = true;
  if (old.present() && ((old.raw() ^ want.raw()) & ~upper_flag_bits) == 0) {
    ++counters_.entries_checked;
    const Mfn child = mirrors_.frame(MirrorId(frames_[old.mfn()].mirror));
    commit(where, frame, CheckedEntry(want, mirror_upper(want, child)));
    return {};
  }
  const auto entry = check_upper(where, want);
  if (!entry) return tl::unexpected(entry.error());
  commit(where, frame, *entry);
  drop_entry(level, old);
  return {};
}

Verdict<> Validator::set_machphys(Held, Mfn mfn, Pfn pfn) {
  if (auto owned = check_owned(mfn); !owned) return owned;
  set_m2p(mfn, pfn);
  return {};
}

Verdict<> Validator::pin(Held held, Level level, Mfn mfn) {
  if (auto held_now = hold(held, mfn, table_type(level)); !held_now) return held_now;
  if (frames_[mfn].pinned) {
    drop_type(mfn);
    return refuse(Rule::pin_already, mfn);
  }
  frames_[mfn].pinned = true;
  return {};
}

Verdict<> Validator::unpin(Held, Mfn mfn) {
  if (auto owned = check_owned(mfn); !owned) return owned;
  if (!frames_[mfn].pinned) return refuse(Rule::pin_missing, mfn);
  frames_[mfn].pinned = false;
  drop_type(mfn);
  return {};
}

Verdict<> Validator::load_root(Held held, Mfn& root, Mfn wanted) {
  ++counters_.root_loads;
  if (wanted == root && root != no_mfn) return {};
  if (auto taken = hold(held, wanted, FrameType::l4); !taken) {
    Refusal refusal = taken.error();
    if (refusal.rule == Rule::frame_wrong_type) refusal.rule = Rule::root_not_l4;
    return tl::unexpected(refusal);
  }
  const Mfn old = std::exchange(root, wanted);
  if (old != no_mfn) drop_type(old);
  return {};
}

void Validator::unload_root(Held, Mfn& root) {
  const Mfn old = std::exchange(root, no_mfn);
  if (old != no_mfn) drop_type(old);
}

Verdict<> Validator::clear_page(Held, Mfn mfn) {
  if (auto owned = check_owned(mfn); !owned) return owned;
  if (transition(frames_[mfn], FrameType::writable) == Transition::refuse)
    return refuse(Rule::frame_wrong_type, mfn);
  machine_.clear(mfn.raw());
  return {};
}

Verdict<> Validator::copy_page(Held, Mfn to, Mfn from) {
  if (auto owned = check_owned(to); !owned) return owned;
  if (auto owned = check_owned(from); !owned) return owned;
  if (transition(frames_[to], FrameType::writable) == Transition::refuse)
    return refuse(Rule::frame_wrong_type, to);
  machine_.copy(to.raw(), from.raw());
  return {};
}

void Validator::flushed(Held) { mirrors_.reuse_retired(); }

}  // namespace pinfold::pvmmu
