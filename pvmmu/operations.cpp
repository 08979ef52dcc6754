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
      trace_(p.trace),
      short_way_end_(p.trace != nullptr ? 0 : p.frames.size()),
      machine_(p.machine),
      m2p_(p.m2p),
      mirrors_(p.mirrors),
      mirror_pages_(p.mirrors.pages()),
      stale_(p.stale),
      logs_stale_(p.stale.enabled()),
      view_(p.view),
      l4_xen_slots_(p.l4_xen_slots),
      machphys_slot_(p.machphys_slot),
      max_frames_(p.max_frames) {
  if (trace_ != nullptr) trace_->started(p);
}

namespace {

std::size_t slot_at(MachineAddr where) { return offset_in_page(where) / sizeof(Pte); }
// A validated table has a mirror, nothing else that is no upper table does.
bool is_live_l1(const Frame& frame) { return frame.type == FrameType::l1 && frame.mirror != 0; }
bool is_live_upper(const Frame& frame) {
  return is_table(frame.type) && frame.type != FrameType::l1 && frame.type_count != 0 && frame.validated;
}

}  // namespace

Verdict<> Validator::check_owned(Mfn mfn) {
  if (!frames_.contains(mfn)) return refuse(Rule::frame_out_of_range, mfn);
  if (!owns(mfn)) return refuse(Rule::frame_not_owned, mfn);
  return {};
}

/// The entry at `where`, in the L1 `table`. What takes more than a change of flags is a call.
[[gnu::always_inline]] inline void Validator::update_l1(Verdict<>& verdict, const Frame& table,
                                                        MachineAddr where, Pte want) {
  const Pte old(machine_.at(where.raw()).load(std::memory_order_relaxed));
  if (!want.present()) return clear_l1(verdict, where, old, want);
  want = adjusted_l1(want);
  // P is not among the flags: the old entry is present as well.
  if (((old.raw() ^ want.raw()) & ~l1_flag_bits) != 0) return replace_l1(verdict, where, old, want);
  const MirrorEntry mirror = mirror_entry(table, where);
  const Pte mirrored = mirror.load(), now = mirror_of_adjusted_leaf(want);
  if (holds_otherwise(mirrored, now)) [[unlikely]]
    return refuse_forged_l1(verdict, where);
  ++counters_.entries_checked;
  commit(where, mirror, mirrored, CheckedEntry(want, now), counters_);
}

void Validator::refuse_forged_l1(Verdict<>& verdict, MachineAddr where) const {
  const Pte guest(machine_.at(where.raw()).load(std::memory_order_relaxed));
  const Pte mirrored = mirror_entry(record(frame_of(where)), where).load();
  verdict = refuse_breach(Where{frame_of(where), slot_at(where)}, guest, mirrored);
}

void Validator::clear_l1(Verdict<>& verdict, MachineAddr where, Pte old, Pte want) {
  const MirrorEntry mirror = mirror_entry(record(frame_of(where)), where);
  const Pte mirrored = mirror.load();
  if (!leaf_is_plain_copy(old, mirrored)) return clear_marked_l1(verdict, where, old, want);
  clear_l1_at(where, mirror, mirrored, old, want);
}

/// The same for any entry: the processor has marked it, or it is writable and clean, or forged.
void Validator::clear_marked_l1(Verdict<>& verdict, MachineAddr where, Pte old, Pte want) {
  const MirrorEntry mirror = mirror_entry(record(frame_of(where)), where);
  const Pte mirrored = mirror.load();
  if (leaf_differs(old, mirrored)) [[unlikely]]
    return refuse_forged_l1(verdict, where);
  clear_l1_at(where, mirror, mirrored, old, want);
}

[[gnu::always_inline]] inline void Validator::clear_l1_at(MachineAddr where, MirrorEntry mirror, Pte mirrored,
                                                          Pte old, Pte want) {
  commit(where, mirror, mirrored, CheckedEntry::not_present(want), counters_);
  drop_l1_entry<Alone>(old);
}

void Validator::replace_l1(Verdict<>& verdict, MachineAddr where, Pte old, Pte want) {
  const MirrorEntry mirror = mirror_entry(record(frame_of(where)), where);
  const Pte mirrored = mirror.load();
  if (!leaf_is_plain_copy(old, mirrored) && leaf_differs(old, mirrored)) [[unlikely]]
    return refuse_forged_l1(verdict, where);
  ++counters_.entries_checked;
  const Checked entry = check_l1<Alone>(want);
  if (!entry) [[unlikely]] {
    verdict = refuse(entry.rule(), Where{frame_of(where), slot_at(where)}, want, want.mfn());
    return;
  }
  commit(where, mirror, mirrored, *entry, counters_);
  drop_l1_entry<Alone>(old);
}

/// Notes what a processor may still know of the entry that was there.
void Validator::log_stale(MachineAddr where, Pte before, Pte now) {
  if (!narrows(before, now)) return;
  const std::lock_guard among_others(stale_lock_);  // of tables other than this one
  stale_.changed(MirrorId(record(frame_of(where)).mirror), slot_at(where), before);
}

Verdict<> Validator::update(Held, MachineAddr address, Pte want, Preserve preserve) {
  Verdict<> verdict;
  const MachineAddr where(address.raw() & ~std::uint64_t{sizeof(Pte) - 1});
  const Mfn mfn = frame_of(where);
  if (mfn.raw() < short_way_end_ && record(mfn).owner_tag() == self_plus_1_ && is_live_l1(record(mfn)) &&
      preserve == Preserve::nothing) [[likely]]
    update_l1(verdict, record(mfn), where, want);
  else
    update_other(verdict, where, want, preserve);
  return verdict;
}

/// What is not on the short way.
void Validator::update_other(Verdict<>& verdict, MachineAddr where, Pte want, Preserve preserve) {
  if (trace_ != nullptr) return update_watched(verdict, where, want, preserve);
  update_elsewhere(verdict, where, want, preserve);
}

void Validator::update_now(Verdict<>& verdict, MachineAddr where, Pte want, Preserve preserve) {
  const Mfn mfn = frame_of(where);
  if (owns(mfn) && is_live_l1(record(mfn)) && preserve == Preserve::nothing)
    update_l1(verdict, record(mfn), where, want);
  else
    update_elsewhere(verdict, where, want, preserve);
}

/// The same for what is no L1, and for marks that are to be kept.
void Validator::update_elsewhere(Verdict<>& verdict, MachineAddr where, Pte want, Preserve preserve) {
  const Mfn mfn = frame_of(where);
  const std::size_t slot = slot_at(where);
  verdict = check_owned(mfn);
  if (!verdict) return;
  const Frame& frame = frames_[mfn];
  // A table of an upper level may be one only for a table that is still to be released. That release may drop
  // the last reference to the frame: then it is free, or another domain's already.
  if (is_live_upper(frame)) {
    verdict = releases_finished() ? check_owned(mfn) : unfinished();
    if (!verdict) return;
  }
  if (is_live_l1(frame)) {
    // Both marks may be what the guest likes. An entry that is not present has some, and no mirror.
    const Pte old(machine_.load(mfn.raw(), slot));
    const Pte mirrored = mirrors_.load(MirrorId(frame.mirror), slot);
    const std::uint64_t seen = old.raw() | (mirrored.raw() & bit::accessed);
    if (want.present()) want = want.with(seen & (bit::accessed | bit::dirty));
    update_l1(verdict, frame, where, want);
  } else if (is_live_upper(frame)) {
    verdict = update_upper(mfn, slot, want, preserve);
    (void)releases_finished();
  } else if (transition(frame, FrameType::writable) == Transition::refuse) {
    verdict = refuse(Rule::frame_not_a_table, Where{mfn, slot}, want, mfn);
  } else {
    machine_.store(mfn.raw(), slot, want.raw());
  }
}

Verdict<> Validator::update_va(Held held, Mfn root, GuestVaddr va, Pte want) {
  if (trace_ != nullptr) [[unlikely]]
    return update_va_watched(held, root, va, want);
  return update_va_now(held, root, va, want);
}

Verdict<> Validator::update_va_now(Held, Mfn root, GuestVaddr va, Pte want) {
  Verdict<> verdict;
  if (const auto leaf = find_leaf(root, va)) [[likely]]
    update_l1(verdict, record(leaf->table), entry_address(leaf->table, leaf->slot), want);
  else
    verdict = refuse(Rule::va_no_l1, Where{}, want);
  return verdict;
}

Verdict<> Validator::update_l1_by_store(Held, const Leaf& target, std::size_t slot, Pte want) {
  Verdict<> verdict;
  const Mfn table = target.entry.mfn();
  if (trace_ != nullptr) [[unlikely]]
    store_l1_watched(verdict, table, slot, want);
  else
    store_l1_now(verdict, table, slot, want);
  return verdict;
}

void Validator::store_l1_now(Verdict<>& verdict, Mfn table, std::size_t slot, Pte want) {
  if (owns(table) && is_live_l1(record(table)))
    update_l1(verdict, record(table), entry_address(table, slot), want);
  else
    verdict = refuse(Rule::ptwr_not_l1, Where{table, slot}, want, table);
}

Verdict<> Validator::update_upper(Mfn table, std::size_t slot, Pte want, Preserve preserve) {
  Frame& frame = frames_[table];
  const Level level = level_of(frame.type);
  const Where where{table, slot, level};
  if (level == Level::l4 && is_xen_slot(slot)) return refuse(Rule::l4_xen_slot, where, want);

  const Pte old(machine_.load(table.raw(), slot));
  const MirrorEntry mirror = mirror_entry(frame, entry_address(table, slot));
  const Pte mirrored = mirror.load();
  if (!is_as_stored(old, mirrored)) [[unlikely]]
    return refuse_breach(where, old, mirrored);
  const auto store = [&](const CheckedEntry& entry) {
    commit(entry_address(table, slot), mirror, mirrored, entry, counters_);
  };
  if (!want.present()) {
    store(CheckedEntry::not_present(want));
    flush_duty_ = true;
    drop_upper_entry(old);
    return {};
  }
  if (preserve == Preserve::accessed_and_dirty) want = want.with(old.raw() & (bit::accessed | bit::dirty));
  want = adjusted_upper(level, want);
  flush_duty_ = true;
  if (old.present() && ((old.raw() ^ want.raw()) & ~upper_flag_bits) == 0) {
    ++counters_.entries_checked;
    store(CheckedEntry(want, mirror_upper(want, mirrored.mfn())));
    return {};
  }
  const auto entry = check_upper(where, want);
  if (!entry) return tl::unexpected(entry.error());
  store(*entry);
  drop_upper_entry(old);
  return {};
}

Verdict<> Validator::set_machphys_now(Mfn mfn, Pfn pfn, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    if (auto owned = check_owned(mfn.plus(i)); !owned) return owned;
    set_m2p(mfn.plus(i), pfn.plus(i));
  }
  return {};
}

Verdict<> Validator::pin_now(Level level, Mfn mfn) {
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

Verdict<> Validator::unpin_now(Mfn mfn) {
  return after_releases([&]() -> Verdict<> {
    if (auto owned = check_owned(mfn); !owned) return owned;
    if (!frames_[mfn].pinned) return refuse(Rule::pin_missing, mfn);
    frames_[mfn].pinned = false;
    drop_type(mfn);
    return {};
  });
}

Verdict<> Validator::load_root(Held, Mfn& root, Mfn wanted) {
  if (trace_ != nullptr) [[unlikely]]
    return load_root_watched(root, wanted);
  ++counters_.root_loads;
  if (wanted == root && root != no_mfn) return {};
  if (!releasing_.empty() || !owns(wanted) || !share(record(wanted), FrameType::l4)) [[unlikely]]
    return load_new_root(root, wanted);
  replace_root(root, wanted);
  (void)releases_finished();
  return {};
}

/// The same for what may not be an L4 yet.
Verdict<> Validator::load_new_root(Mfn& root, Mfn wanted) {
  return after_releases([&]() -> Verdict<> {
    if (auto taken = take_owned(wanted, FrameType::l4); !taken) {
      Refusal refusal = taken.error();
      if (refusal.rule == Rule::frame_wrong_type) refusal.rule = Rule::root_not_l4;
      return tl::unexpected(refusal);
    }
    replace_root(root, wanted);
    return {};
  });
}

void Validator::replace_root(Mfn& root, Mfn wanted) {
  const Mfn old = std::exchange(root, wanted);
  if (old != no_mfn) drop_type(old);
}

Verdict<> Validator::clear_page_now(Mfn mfn) {
  if (auto owned = check_owned(mfn); !owned) return owned;
  if (transition(frames_[mfn], FrameType::writable) == Transition::refuse)
    return refuse(Rule::frame_wrong_type, mfn);
  budget_.spend(cost::page);
  machine_.clear(mfn.raw());
  return {};
}

Verdict<> Validator::copy_page_now(Mfn to, Mfn from) {
  if (auto owned = check_owned(to); !owned) return owned;
  if (auto owned = check_owned(from); !owned) return owned;
  if (transition(frames_[to], FrameType::writable) == Transition::refuse)
    return refuse(Rule::frame_wrong_type, to);
  budget_.spend(cost::page);
  machine_.copy(to.raw(), from.raw());
  return {};
}

}  // namespace pinfold::pvmmu
