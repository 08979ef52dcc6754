// The page-table operations of the ABI: mmu_update, update_va_mapping, pins, roots, whole pages.
#include "pvmmu/entry_rules.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

Validator::Validator(const ValidatorParts& p)
    : domain_(p.domain),
      self_plus_1_(static_cast<std::uint16_t>(p.domain.raw() + 1)),
      frames_(p.frames),
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

Verdict<> Validator::update(Held, MachineAddr where, Pte want, Preserve preserve) {
  const Mfn mfn = frame_of(where);
  const std::size_t slot = offset_in_page(where) / sizeof(Pte);
  if (!owns(mfn)) [[unlikely]]
    return check_owned(mfn);

  const Frame& frame = frames_[mfn];
  if (frame.type_count != 0) {
    if (frame.type == FrameType::l1) return update_l1(mfn, slot, want, preserve);
    if (is_table(frame.type) && frame.validated)
      return after_releases([&] { return update_upper(mfn, slot, want, preserve); });
  }
  if (transition(frame, FrameType::writable) == Transition::refuse)
    return refuse(Rule::frame_not_a_table, Where{mfn, slot}, want, mfn);
  machine_.store(mfn.raw(), slot, want.raw());
  return {};
}

Verdict<> Validator::update_va(Held held, Mfn root, GuestVaddr va, Pte want) {
  const auto leaf = walk(held, root, va);
  if (!leaf) return refuse(Rule::va_no_l1, Where{}, want);
  return update_l1(leaf->table, leaf->slot, want, Preserve::nothing);
}

Verdict<> Validator::update_l1_by_store(Held, const Leaf& target, std::size_t slot, Pte want) {
  const Mfn table = target.entry.mfn();
  if (!owns(table) || frames_[table].type != FrameType::l1 || frames_[table].type_count == 0)
    return refuse(Rule::ptwr_not_l1, Where{table, slot}, want, table);
  return update_l1(table, slot, want, Preserve::nothing);
}

Verdict<> Validator::update_l1(Mfn table, std::size_t slot, Pte want, Preserve preserve) {
  const Where where{table, slot, Level::l1};
  Frame& frame = frames_[table];
  const Pte old(machine_.load(table.raw(), slot));
  if (!want.present()) {
    commit(where, frame, CheckedEntry::not_present(want));
    drop_entry(Level::l1, old);
    return {};
  }
  if (preserve == Preserve::accessed_and_dirty) {
    const std::uint64_t seen =
        old.raw() | (mirrors_.load(MirrorId(frame.mirror), slot).raw() & bit::accessed);
    want = want.with(seen & (bit::accessed | bit::dirty));
  }
  want = adjusted_l1(want);
  if (old.present() && ((old.raw() ^ want.raw()) & ~l1_flag_bits) == 0) {
    ++counters_.entries_checked;
    commit(where, frame, CheckedEntry(want, mirror_leaf(want)));
    return {};
  }
  const auto entry = check_l1(where, want);
  if (!entry) [[unlikely]]
    return tl::unexpected(entry.error());
  commit(where, frame, *entry);
  drop_entry(Level::l1, old);
  return {};
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

Verdict<> Validator::pin(Held, Level level, Mfn mfn) {
  return after_releases([&]() -> Verdict<> {
    if (auto taken = take_owned(mfn, table_type(level)); !taken) return taken;
    if (frames_[mfn].pinned) {
      drop_type(mfn);
      return refuse(Rule::pin_already, mfn);
    }
    frames_[mfn].pinned = true;
    return {};
  });
}

Verdict<> Validator::unpin(Held, Mfn mfn) {
  return after_releases([&]() -> Verdict<> {
    if (auto owned = check_owned(mfn); !owned) return owned;
    if (!frames_[mfn].pinned) return refuse(Rule::pin_missing, mfn);
    frames_[mfn].pinned = false;
    drop_type(mfn);
    return {};
  });
}

Verdict<> Validator::load_root(Held held, Mfn& root, Mfn wanted) {
  ++counters_.root_loads;
  if (wanted == root && root != no_mfn) return {};
  return after_releases([&]() -> Verdict<> {
    if (auto taken = take_owned(wanted, FrameType::l4); !taken) {
      Refusal refusal = taken.error();
      if (refusal.rule == Rule::frame_wrong_type) refusal.rule = Rule::root_not_l4;
      return tl::unexpected(refusal);
    }
    unload_root(held, root);
    root = wanted;
    return {};
  });
}

void Validator::unload_root(Held, Mfn& root) {
  const Mfn old = std::exchange(root, no_mfn);
  if (old != no_mfn) drop_type(old);
  (void)releases_finished();
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

void Validator::stale_entries_settled(Held, std::uint64_t end) {
  mirrors_.reuse_retired(stale_.drop_below(end));
}

void Validator::retired_mirrors_forgotten(Held, std::uint64_t end) {
  if (end > mirrors_.reused()) mirrors_.reuse_retired(end - mirrors_.reused());
}

}  // namespace pinfold::pvmmu
