#include "pvmmu/traced_operation.hpp"

#include <array>

namespace pinfold::pvmmu {

void TracedOperation::begin(TraceKind kind, Mfn frame) {
  flush_before_ = std::exchange(mmu_.flush_duty_, false);
  TraceEvent& event = event_.emplace();
  event.kind = kind;
  event.frame = frame;
  event.before = state_of(frame);
  event.budget = mmu_.budget_.left();
  event.marks.budgeted = event.budget != mmu_.traced_budget_;
  mmu_.trace_->operation_begins();
}

void TracedOperation::changes_entry(Mfn table, std::size_t slot, Pte want) {
  TraceEvent& event = *event_;
  event.table = table;
  event.slot = static_cast<std::uint16_t>(slot);
  event.now = want;
  if (mmu_.owns(table) && is_table(mmu_.facts(table).type)) {
    event.level = static_cast<std::uint8_t>(number(level_of(mmu_.facts(table).type)));
    event.old = Pte(mmu_.machine_.load(table.raw(), slot));
  }
  event.frame = want.present() ? want.mfn() : event.old.present() ? event.old.mfn() : no_mfn;
  event.before = state_of(event.frame);
}

void TracedOperation::changes_grant(MachineAddr where, Pte granted, GrantName grant) {
  constexpr std::uint64_t entry = sizeof(Pte);
  changes_entry(frame_of(where), offset_in_page(where) / entry, granted);
  event_->count = where.raw() % entry;
  event_->grant = grant;
}

void TracedOperation::end() {
  event_->after = state_of(event_->frame);
  event_->marks.flush = mmu_.flush_duty_;
  mmu_.flush_duty_ = mmu_.flush_duty_ || flush_before_;
  mmu_.traced_budget_ = mmu_.budget_.left();
  mmu_.trace_->event(*event_);
}

std::optional<FrameState> TracedOperation::state_of(Mfn mfn) const {
  if (!mmu_.owns(mfn)) return std::nullopt;
  const Frame frame = mmu_.frame(mfn);
  return FrameState{frame.type, frame.pinned, frame.refs, frame.type_count};
}

// -- events within an operation, before its own

void Validator::trace_frame_change(TraceKind kind, Mfn mfn, FrameType type) const {
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
  trace_->event(event);
}

void Validator::trace_host_refusal(Mfn mfn, bool revoke) const {
  TraceEvent event;
  event.kind = TraceKind::host_refused;
  event.frame = mfn;
  event.marks.revoke = revoke;
  trace_->event(event);
}

// -- events of operations that need less than a TracedOperation

void Validator::trace_hidden_machphys(Mfn root) const {
  TraceEvent event;
  event.kind = TraceKind::hide_machphys;
  event.frame = root;
  event.marks.flush = true;
  trace_->operation_begins();
  trace_->event(event);
}

void Validator::trace_forgotten_mirrors(std::uint64_t reused_before) const {
  if (mirrors_.reused() == reused_before) return;
  TracedOperation traced(*this, TraceKind::forget_mirrors);
  if (traced) traced->argument = mirrors_.reused();
}

}  // namespace pinfold::pvmmu
