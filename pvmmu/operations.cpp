// The page-table operations of the ABI: mmu_update, update_va_mapping, pins, roots, whole pages.
#include "pvmmu/entry_check.hpp"
#include "pvmmu/entry_rules.hpp"
#include "pvmmu/traced_operation.hpp"
#include "pvmmu/validator_l1.hpp"

namespace pinfold::pvmmu {

Validator::Validator(const ValidatorParts& p)
    : domain_(p.domain),
      frames_(p.frames),
      records_(p.frames.size(), p.frames.most(), p.records_in_vm),
      trace_(p.trace),
      short_way_end_(p.trace != nullptr ? 0 : records_.size()),
      machine_(p.machine),
      m2p_(p.m2p),
      mirrors_(p.mirrors),
      mirror_pages_(p.mirrors.pages()),
      stale_(p.stale),
      logs_stale_(p.stale.enabled()),
      view_(p.view),
      l4_xen_slots_(p.l4_xen_slots),
      machphys_slot_(p.machphys_slot),
      max_frames_(p.max_frames),
      windows_(p.most_windows) {
  if (trace_ != nullptr) trace_->started(p);
}

namespace {

std::size_t slot_at(MachineAddr where) { return offset_in_page(where) / sizeof(Pte); }
// A validated table has a mirror; of the other frames only partial upper tables may have one.
bool is_live_l1(const FrameFacts& frame) { return frame.type == FrameType::l1 && frame.mirror != 0; }
bool is_live_upper(const FrameFacts& frame) {
  return is_table(frame.type) && frame.type != FrameType::l1 && frame.validated;
}

}  // namespace

Verdict<> Validator::check_owned(Mfn mfn) {
  if (!contains(mfn)) return refuse(Rule::frame_out_of_range, mfn);
  if (!owns(mfn)) return refuse(Rule::frame_not_owned, mfn);
  return {};
}

/// The same as PlainL1::update, with a function of its own for each kind of update but the shortest.
[[gnu::always_inline]] inline void Validator::update_l1(Verdict<>& verdict, const FrameFacts& table,
                                                        MachineAddr where, Pte want) {
  ExclusiveL1 l1 = exclusive_l1();
  const Pte old = L1Memory{*this}.load(where);
  if (!want.present()) return clear_l1(verdict, where, old, want);
  want = adjusted_l1(want);
  if (!ExclusiveL1::only_flags_change(old, want)) return replace_l1(verdict, where, old, want);
  const L1Outcome outcome = l1.change_flags(table, where, want);
  if (!outcome.is_done()) [[unlikely]]
    refuse_l1(verdict, where, want, outcome);
}

void Validator::clear_l1(Verdict<>& verdict, MachineAddr where, Pte old, Pte want) {
  const L1Outcome outcome = exclusive_l1().clear(facts(frame_of(where)), where, old, want);
  if (!outcome.is_done()) [[unlikely]]
    refuse_l1(verdict, where, want, outcome);
}

void Validator::replace_l1(Verdict<>& verdict, MachineAddr where, Pte old, Pte want) {
  const L1Outcome outcome = exclusive_l1().replace(facts(frame_of(where)), where, old, want);
  if (!outcome.is_done()) [[unlikely]]
    refuse_l1(verdict, where, want, outcome);
}

void Validator::refuse_l1(Verdict<>& verdict, MachineAddr where, Pte want, L1Outcome outcome) {
  const Mfn table = frame_of(where);
  const std::size_t slot = slot_at(where);
  if (outcome.kind == L1Outcome::Kind::forged) {
    verdict = refuse_breach(Where{table, slot}, L1Memory{*this}.load(where),
                            mirror_entry(facts(table), where).load());
    return;
  }
  ++counters_.entries_checked;
  verdict = refuse(outcome.rule, Where{table, slot}, want, want.mfn());
}

/// Logs the old entry if a processor may still use it in a way that the new one does not allow.
void Validator::log_stale(MachineAddr where, Pte before, Pte now) {
  if (!narrows(before, now)) return;
  const std::lock_guard among_others(concurrent_locks_.of_stale_log());  // of tables other than this one
  stale_.changed(MirrorId(facts(frame_of(where)).mirror), slot_at(where), before);
}

Verdict<> Validator::update(Held, MachineAddr address, Pte want, Preserve preserve) {
  Verdict<> verdict;
  const MachineAddr where(address.raw() & ~std::uint64_t{sizeof(Pte) - 1});
  const Mfn mfn = frame_of(where);
  if (mfn.raw() < short_way_end_ && facts(mfn).mine && is_live_l1(facts(mfn)) &&
      preserve == Preserve::nothing) [[likely]]
    update_l1(verdict, facts(mfn), where, want);
  else
    update_any(verdict, where, want, preserve);
  return verdict;
}

/// Every update that does not take the short way: of frames other than L1 tables, updates that keep A and D,
/// and all updates while a sink watches.
void Validator::update_any(Verdict<>& verdict, MachineAddr where, Pte want, Preserve preserve) {
  const Mfn mfn = frame_of(where);
  TracedOperation traced(*this, TraceKind::update);
  if (traced) {
    traced.changes_entry(mfn, slot_at(where), want);
    traced->marks.preserve = preserve == Preserve::accessed_and_dirty;
    // The accessed bit in the mirror is an input of the operation as well, if it is read.
    if (traced->marks.preserve && traced->level == 1 && facts(mfn).mirror != 0)
      traced->marks.accessed_by_processor = mirror_entry(facts(mfn), where).load().any(bit::accessed);
  }
  verdict = check_owned(mfn);
  // A frame may be an upper table only because a table that is being released still names it. That release
  // may drop the last reference to the frame: then it is free, or another domain has it already.
  if (verdict && is_live_upper(facts(mfn))) verdict = releases_finished() ? check_owned(mfn) : unfinished();
  if (verdict) update_owned(verdict, where, want, preserve);
  traced.judged(verdict);
}

void Validator::update_owned(Verdict<>& verdict, MachineAddr where, Pte want, Preserve preserve) {
  const Mfn mfn = frame_of(where);
  const std::size_t slot = slot_at(where);
  const FrameFacts& frame = facts(mfn);
  if (is_live_l1(frame)) {
    if (preserve == Preserve::accessed_and_dirty) {
      // The guest may set both bits as it likes. An entry that is not present may have them, too, and an
      // empty mirror.
      const Pte old(machine_.load(mfn.raw(), slot));
      const Pte mirrored = mirrors_.load(MirrorId(frame.mirror), slot);
      const std::uint64_t seen = old.raw() | (mirrored.raw() & bit::accessed);
      want = want.with(seen & (bit::accessed | bit::dirty));
    }
    update_l1(verdict, frame, where, want);
  } else if (is_live_upper(frame)) {
    verdict = update_upper(mfn, slot, want, preserve);
    (void)releases_finished();
  } else if (records_.transition(mfn, FrameType::writable) == Transition::refuse) {
    verdict = refuse(Rule::frame_not_a_table, Where{mfn, slot}, want, mfn);
  } else {
    machine_.store(mfn.raw(), slot, want.raw());
  }
}

Verdict<> Validator::update_va(Held held, Mfn root, GuestVaddr va, Pte want) {
  Verdict<> verdict;
  TracedOperation traced(*this, TraceKind::update_va);
  if (traced) {
    if (const auto leaf = walk(held, root, va); leaf && !leaf->linear)
      traced.changes_entry(leaf->table, leaf->slot, want);
    else
      traced->now = want;
    traced->root = root;
    traced->argument = va.raw();
  }
  if (const auto leaf = find_leaf(root, va)) [[likely]]
    update_l1(verdict, facts(leaf->table), entry_address(leaf->table, leaf->slot), want);
  else
    verdict = refuse(Rule::va_no_l1, Where{}, want);
  traced.judged(verdict);
  return verdict;
}

Verdict<> Validator::update_l1_by_store(Held, const Leaf& target, std::size_t slot, Pte want) {
  Verdict<> verdict;
  const Mfn table = target.entry.mfn();
  TracedOperation traced(*this, TraceKind::store_l1);
  if (traced) traced.changes_entry(table, slot, want);
  if (owns(table) && is_live_l1(facts(table)))
    update_l1(verdict, facts(table), entry_address(table, slot), want);
  else
    verdict = refuse(Rule::ptwr_not_l1, Where{table, slot}, want, table);
  traced.judged(verdict);
  return verdict;
}

/// Does a present upper entry keep the reference that the old one holds? RW is no flag of a linear entry,
/// which must not have it (XSA-182).
bool Validator::only_flags_change(Level level, Pte old, Pte want) const {
  const std::uint64_t flags =
      is_linear(level, old.mfn()) ? upper_flag_bits & ~bit::writable : upper_flag_bits;
  return ((old.raw() ^ want.raw()) & ~flags) == 0;
}

Verdict<> Validator::update_upper(Mfn table, std::size_t slot, Pte want, Preserve preserve) {
  const FrameFacts& frame = facts(table);
  const Level level = level_of(frame.type);
  const Where where{table, slot, level};
  if (level == Level::l4 && is_xen_slot(slot)) return refuse(Rule::l4_xen_slot, where, want);

  const Pte old(machine_.load(table.raw(), slot));
  const MirrorEntry mirror = mirror_entry(frame, entry_address(table, slot));
  const Pte mirrored = mirror.load();
  if (!is_as_stored(level, old, mirrored)) [[unlikely]]
    return refuse_breach(where, old, mirrored);
  const auto store = [&](const CheckedEntry& entry) {
    commit(L1Memory{*this}, entry_address(table, slot), mirror, mirrored, entry, counters_);
    if (!windows_.empty()) [[unlikely]]
      update_windows(where, entry.guest());
  };
  if (preserve == Preserve::accessed_and_dirty) want = want.with(old.raw() & (bit::accessed | bit::dirty));
  if (!want.present()) {
    store(CheckedEntry::not_present(want));
    flush_duty_ = true;
    drop_upper_entry(table, level, old);
    return {};
  }
  want = adjusted_upper(level, want);
  flush_duty_ = true;
  if (old.present() && only_flags_change(level, old, want)) {
    ++counters_.entries_checked;
    store(CheckedEntry(want, mirror_upper(want, mirrored.mfn())));
    return {};
  }
  const auto entry = check_upper(where, want);
  if (!entry) return tl::unexpected(entry.error());
  store(*entry);
  drop_upper_entry(table, level, old);
  return {};
}

Verdict<> Validator::set_machphys(Held, Mfn mfn, Pfn pfn, std::uint64_t count) {
  TracedOperation traced(*this, TraceKind::set_machphys, mfn);
  if (traced) {
    traced->argument = pfn.raw();
    traced->count = count;
  }
  return traced.run([&]() -> Verdict<> {
    for (std::uint64_t i = 0; i < count; ++i) {
      if (auto owned = check_owned(mfn.plus(i)); !owned) return owned;
      set_m2p(mfn.plus(i), pfn.plus(i));
    }
    return {};
  });
}

Verdict<> Validator::pin(Held, Level level, Mfn mfn) {
  TracedOperation traced(*this, TraceKind::pin, mfn);
  if (traced) traced->level = static_cast<std::uint8_t>(number(level));
  return traced.run([&] {
    return after_releases([&]() -> Verdict<> {
      if (auto taken = take_owned(mfn, table_type(level)); !taken) return taken;
      if (facts(mfn).pinned) {
        drop_type(mfn);
        return refuse(Rule::pin_already, mfn);
      }
      mutable_facts(mfn).pinned = true;
      return {};
    });
  });
}

Verdict<> Validator::unpin(Held, Mfn mfn) {
  TracedOperation traced(*this, TraceKind::unpin, mfn);
  return traced.run([&] {
    return after_releases([&]() -> Verdict<> {
      if (auto owned = check_owned(mfn); !owned) return owned;
      if (!facts(mfn).pinned) return refuse(Rule::pin_missing, mfn);
      mutable_facts(mfn).pinned = false;
      drop_type(mfn);
      return {};
    });
  });
}

Verdict<> Validator::load_root(Held, Mfn& root, Mfn wanted) {
  TracedOperation traced(*this, TraceKind::load_root, wanted);
  if (traced) traced->root = root;
  ++counters_.root_loads;
  if (wanted == root && root != no_mfn) return {};
  if (unfinished_.has_releases() || !owns(wanted) || !share(wanted, FrameType::l4)) [[unlikely]]
    return traced.run([&] { return load_new_root(root, wanted); });
  replace_root(root, wanted);
  (void)releases_finished();
  return {};
}

/// load_root() for a frame that may not be an L4 yet.
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

bool Validator::settle_root(Held, Mfn& root, Mfn moved_to) {
  if (moved_to == root) return true;
  if (moved_to != no_mfn && (!owns(moved_to) || !share(moved_to, FrameType::l4))) return false;
  replace_root(root, moved_to);
  (void)releases_finished();
  return true;
}

void Validator::unload_root(Held, Mfn& root) {
  if (root == no_mfn && !unfinished_.has_releases()) return;
  TracedOperation traced(*this, TraceKind::unload_root, root);
  if (traced) traced->root = root;
  replace_root(root, no_mfn);
  (void)releases_finished();
}

Verdict<> Validator::clear_page(Held, Mfn mfn) {
  TracedOperation traced(*this, TraceKind::clear_page, mfn);
  return traced.run([&]() -> Verdict<> {
    if (auto owned = check_owned(mfn); !owned) return owned;
    if (records_.transition(mfn, FrameType::writable) == Transition::refuse)
      return refuse(Rule::frame_wrong_type, mfn);
    budget_.spend(cost::page);
    machine_.clear(mfn.raw());
    return {};
  });
}

Verdict<> Validator::copy_page(Held, Mfn to, Mfn from) {
  TracedOperation traced(*this, TraceKind::copy_page, to);
  if (traced) traced->argument = from.raw();
  return traced.run([&]() -> Verdict<> {
    if (auto owned = check_owned(to); !owned) return owned;
    if (auto owned = check_owned(from); !owned) return owned;
    if (records_.transition(to, FrameType::writable) == Transition::refuse)
      return refuse(Rule::frame_wrong_type, to);
    budget_.spend(cost::page);
    machine_.copy(to.raw(), from.raw());
    return {};
  });
}

}  // namespace pinfold::pvmmu
