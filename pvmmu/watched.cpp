// The operations as their callers know them: each does its work, and tells the sink of it if there is one.
#include <array>

#include "pvmmu/entry_rules.hpp"
#include "pvmmu/state_digest.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

/// One operation while it is watched: made before its work begins, told of by `tell`, `of` or `done` once it
/// is over.
class Validator::Watch {
 public:
  Watch(const Validator& mmu, TraceKind kind, Mfn frame = no_mfn)
      : mmu_(mmu), flush_before_(std::exchange(mmu.flush_duty_, false)) {
    event.kind = kind;
    event.frame = frame;
    event.before = state(frame);
    event.budget = mmu.budget_.left();
    event.marks.budgeted = event.budget != mmu.told_budget_;
    mmu.trace_->operation_begins();
  }

  /// The operation changes an entry: what is there, and what it names. What a plain frame holds is no entry.
  void entry(Mfn table, std::size_t slot, Pte want) {
    event.table = table;
    event.slot = static_cast<std::uint16_t>(slot);
    event.now = want;
    if (mmu_.owns(table) && is_table(mmu_.record(table).type) && mmu_.record(table).type_count != 0) {
      event.level = static_cast<std::uint8_t>(number(level_of(mmu_.record(table).type)));
      event.old = Pte(mmu_.machine_.load(table.raw(), slot));
    }
    event.frame = want.present() ? want.mfn() : event.old.present() ? event.old.mfn() : no_mfn;
    event.before = state(event.frame);
  }

  template <class T>
  void tell(const Verdict<T>& verdict) {
    if (!verdict) event.refusal = verdict.error();
    done();
  }
  template <class T>
  Verdict<T> of(Verdict<T> verdict) {
    tell(verdict);
    return verdict;
  }
  void done() {
    event.after = state(event.frame);
    event.marks.flush = mmu_.flush_duty_;
    mmu_.flush_duty_ = mmu_.flush_duty_ || flush_before_;
    mmu_.told_budget_ = mmu_.budget_.left();
    mmu_.trace_->event(event);
  }

  TraceEvent event;

 private:
  [[nodiscard]] std::optional<FrameState> state(Mfn mfn) const {
    if (!mmu_.owns(mfn)) return std::nullopt;
    const Frame& frame = mmu_.record(mfn);
    return FrameState{frame.type, frame.pinned, frame.refs, frame.type_count};
  }

  const Validator& mmu_;
  bool flush_before_;
};

// -- told from where things happen

void Validator::tell_within(TraceKind kind, Mfn mfn, FrameType type) const {
  TraceEvent event;
  event.kind = kind;
  event.frame = mfn;
  event.wanted = type;
  std::array<std::uint64_t, entries_per_table> contents;
  if (kind == TraceKind::protected_frame) {
    for (std::size_t slot = 0; slot < entries_per_table; ++slot)
      contents[slot] = machine_.load(mfn.raw(), slot);
    event.contents = contents;
  }
  if (kind == TraceKind::hide_machphys) {
    event.marks.flush = true;
    trace_->operation_begins();
  }
  trace_->event(event);
}

void Validator::tell_host_refused(Mfn mfn, bool revoke) const {
  TraceEvent event;
  event.kind = TraceKind::host_refused;
  event.frame = mfn;
  event.marks.revoke = revoke;
  trace_->event(event);
}

void Validator::tell_touch(const Leaf& leaf, Pte marked, bool write) const {
  Watch watch(*this, TraceKind::touch);
  watch.entry(leaf.table, leaf.slot, marked);
  watch.event.marks.write = write;
  watch.done();
}

// -- tables

void Validator::update_watched(Verdict<>& verdict, MachineAddr where, Pte want, Preserve preserve) {
  const Mfn table = frame_of(where);
  const std::size_t slot = offset_in_page(where) / sizeof(Pte);
  Watch watch(*this, TraceKind::update);
  watch.entry(table, slot, want);
  watch.event.marks.preserve = preserve == Preserve::accessed_and_dirty;
  // What the processor noted in the mirror is an input as well, where it is looked at.
  if (watch.event.marks.preserve && watch.event.level == 1 && record(table).mirror != 0)
    watch.event.marks.accessed_by_processor =
        mirrors_.load(MirrorId(record(table).mirror), slot).any(bit::accessed);
  update_now(verdict, where, want, preserve);
  watch.tell(verdict);
}

Verdict<> Validator::update_va_watched(Held held, Mfn root, GuestVaddr va, Pte want) {
  Watch watch(*this, TraceKind::update_va);
  if (const auto leaf = walk(held, root, va))
    watch.entry(leaf->table, leaf->slot, want);
  else
    watch.event.now = want;
  watch.event.root = root;
  watch.event.argument = va.raw();
  return watch.of(update_va_now(held, root, va, want));
}

void Validator::store_l1_watched(Verdict<>& verdict, Mfn table, std::size_t slot, Pte want) {
  Watch watch(*this, TraceKind::store_l1);
  watch.entry(table, slot, want);
  store_l1_now(verdict, table, slot, want);
  watch.tell(verdict);
}

Verdict<> Validator::set_machphys(Held, Mfn mfn, Pfn pfn, std::uint64_t count) {
  if (trace_ == nullptr) return set_machphys_now(mfn, pfn, count);
  Watch watch(*this, TraceKind::set_machphys, mfn);
  watch.event.argument = pfn.raw();
  watch.event.count = count;
  return watch.of(set_machphys_now(mfn, pfn, count));
}

Verdict<> Validator::pin(Held, Level level, Mfn mfn) {
  if (trace_ == nullptr) return pin_now(level, mfn);
  Watch watch(*this, TraceKind::pin, mfn);
  watch.event.level = static_cast<std::uint8_t>(number(level));
  return watch.of(pin_now(level, mfn));
}

Verdict<> Validator::unpin(Held, Mfn mfn) {
  if (trace_ == nullptr) return unpin_now(mfn);
  Watch watch(*this, TraceKind::unpin, mfn);
  return watch.of(unpin_now(mfn));
}

Verdict<> Validator::load_root_watched(Mfn& root, Mfn wanted) {
  Watch watch(*this, TraceKind::load_root, wanted);
  watch.event.root = root;
  ++counters_.root_loads;
  if (wanted == root && root != no_mfn) return watch.of(Verdict<>());
  return watch.of(load_new_root(root, wanted));
}

void Validator::unload_root(Held, Mfn& root) {
  const auto unload = [&] {
    replace_root(root, no_mfn);
    (void)releases_finished();
  };
  if (trace_ == nullptr || (root == no_mfn && releasing_.empty())) return unload();
  Watch watch(*this, TraceKind::unload_root, root);
  watch.event.root = root;
  unload();
  watch.done();
}

Verdict<> Validator::clear_page(Held, Mfn mfn) {
  if (trace_ == nullptr) return clear_page_now(mfn);
  Watch watch(*this, TraceKind::clear_page, mfn);
  return watch.of(clear_page_now(mfn));
}

Verdict<> Validator::copy_page(Held, Mfn to, Mfn from) {
  if (trace_ == nullptr) return copy_page_now(to, from);
  Watch watch(*this, TraceKind::copy_page, to);
  watch.event.argument = from.raw();
  return watch.of(copy_page_now(to, from));
}

// -- work at a stretch

bool Validator::finish_releases_watched() {
  if (trace_ == nullptr) return work_off_releases();
  Watch watch(*this, TraceKind::finish_releases);
  const bool finished = work_off_releases();
  watch.event.marks.continued = !finished;
  watch.done();
  return finished;
}

void Validator::stale_entries_settled(Held, std::uint64_t end) {
  const std::uint64_t before = mirrors_.reused();
  mirrors_.reuse_retired(stale_.drop_below(end));
  tell_forgotten_mirrors(before);
}

void Validator::retired_mirrors_forgotten(Held, std::uint64_t end) {
  const std::uint64_t before = mirrors_.reused();
  if (end > before) mirrors_.reuse_retired(end - before);
  tell_forgotten_mirrors(before);
}

void Validator::tell_forgotten_mirrors(std::uint64_t reused_before) const {
  if (trace_ == nullptr || mirrors_.reused() == reused_before) return;
  Watch watch(*this, TraceKind::forget_mirrors);
  watch.event.argument = mirrors_.reused();
  watch.done();
}

// -- references held outside of tables

Verdict<> Validator::hold(Held, Mfn mfn, FrameType type) {
  if (trace_ == nullptr) return hold_now(mfn, type);
  Watch watch(*this, TraceKind::hold, mfn);
  watch.event.wanted = type;
  return watch.of(hold_now(mfn, type));
}

void Validator::release(Held, Mfn mfn) {
  const auto release = [&] {
    drop_type(mfn);
    (void)releases_finished();
  };
  if (trace_ == nullptr) return release();
  Watch watch(*this, TraceKind::release, mfn);
  release();
  watch.done();
}

Verdict<std::uint64_t> Validator::write_descriptor(Held, MachineAddr where, std::uint64_t descriptor) {
  if (trace_ == nullptr) return write_descriptor_now(where, descriptor);
  Watch watch(*this, TraceKind::write_descriptor, frame_of(where));
  watch.event.argument = where.raw();
  watch.event.now = Pte(descriptor);
  return watch.of(write_descriptor_now(where, descriptor));
}

// -- the reservation

Verdict<Mfn> Validator::allocate(Held, std::uint64_t count, std::uint64_t alignment) {
  if (trace_ == nullptr) return allocate_now(count, alignment, false);
  return allocate_watched(count, alignment, false);
}

Verdict<Mfn> Validator::allocate_beyond_limit(Held, std::uint64_t count, std::uint64_t alignment) {
  if (trace_ == nullptr) return allocate_now(count, alignment, true);
  return allocate_watched(count, alignment, true);
}

Verdict<Mfn> Validator::allocate_watched(std::uint64_t count, std::uint64_t alignment, bool beyond_limit) {
  Watch watch(*this, TraceKind::allocate);
  watch.event.argument = alignment;
  watch.event.count = count;
  watch.event.marks.beyond_limit = beyond_limit;
  const auto first = allocate_now(count, alignment, beyond_limit);
  if (first) watch.event.frame = *first;
  return watch.of(first);
}

Verdict<Mfn> Validator::allocate_special(Held) {
  if (trace_ == nullptr) return allocate_special_now();
  Watch watch(*this, TraceKind::allocate_special);
  const auto mfn = allocate_special_now();
  if (mfn) watch.event.frame = *mfn;
  return watch.of(mfn);
}

Verdict<> Validator::deallocate(Held, Mfn mfn) {
  if (trace_ == nullptr) return deallocate_now(mfn);
  Watch watch(*this, TraceKind::deallocate, mfn);
  return watch.of(deallocate_now(mfn));
}

Verdict<> Validator::check_exchangeable(Held, Mfn mfn) const {
  if (trace_ == nullptr) return check_exchangeable_now(mfn);
  Watch watch(*this, TraceKind::check_exchange, mfn);
  return watch.of(check_exchangeable_now(mfn));
}

std::uint64_t Validator::destroy(Held held) {
  if (trace_ == nullptr) return destroy_now();
  TraceEvent state;
  state.kind = TraceKind::state;
  const auto digests = state_digests(held, *this);
  state.digests = digests;
  trace_->event(state);
  Watch watch(*this, TraceKind::destroy);
  // That each table and frame ends is not told one by one.
  TraceSink* const sink = std::exchange(trace_, nullptr);
  watch.event.count = destroy_now();
  trace_ = sink;
  watch.done();
  return watch.event.count;
}

}  // namespace pinfold::pvmmu
