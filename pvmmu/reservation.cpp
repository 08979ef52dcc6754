// The domain's reservation: taking frames from the machine and giving them back.
#include "pvmmu/entry_rules.hpp"
#include "pvmmu/state_digest.hpp"
#include "pvmmu/traced_operation.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

Verdict<Mfn> Validator::allocate(Held, std::uint64_t count, std::uint64_t alignment) {
  return allocate_traced(count, alignment, false);
}

Verdict<Mfn> Validator::allocate_beyond_limit(Held, std::uint64_t count, std::uint64_t alignment) {
  return allocate_traced(count, alignment, true);
}

Verdict<Mfn> Validator::allocate_traced(std::uint64_t count, std::uint64_t alignment, bool beyond_limit) {
  TracedOperation traced(*this, TraceKind::allocate);
  if (traced) {
    traced->argument = alignment;
    traced->count = count;
    traced->marks.beyond_limit = beyond_limit;
  }
  const auto taken = traced.run([&] { return take_frames(count, alignment, beyond_limit); });
  if (!taken) return tl::unexpected(taken.error());
  if (traced) {
    traced->frame = taken->first;
    traced->marks.cleared = taken->cleared;
  }
  return taken->first;
}

Verdict<Validator::TakenFrames> Validator::take_frames(std::uint64_t count, std::uint64_t alignment,
                                                       bool beyond_limit) {
  if (!beyond_limit && (count > max_frames_ || owned_ > max_frames_ - count))
    return refuse(Rule::domain_limit, no_mfn);
  const auto taken = frames_.take(domain_, count, alignment);
  if (!taken) return refuse(Rule::machine_exhausted, no_mfn);
  records_.will_fill(taken->first, count);
  budget_.spend(cost::view + count * (taken->used_before ? cost::page : 1));
  for (std::uint64_t i = 0; i < count; ++i) {
    const Mfn mfn = taken->first.plus(i);
    if (taken->used_before) machine_.clear(mfn.raw());
    FrameFacts& frame = mutable_facts(mfn);
    frame.mine = frame.allocated = true;
    frame.type = records_.plain_type();
  }
  owned_ += count;
  view_.grant(taken->first, count);
  return TakenFrames{taken->first, taken->used_before};
}

Verdict<Mfn> Validator::allocate_special(Held) {
  TracedOperation traced(*this, TraceKind::allocate_special);
  const auto taken = traced.run([&] { return take_frames(1, 1, true); });
  if (!taken) return tl::unexpected(taken.error());
  const Mfn mfn = taken->first;
  FrameFacts& frame = mutable_facts(mfn);
  frame.allocated = false;  // the reference is the monitor's, not the reservation's
  frame.special = true;
  frame.type = FrameType::writable;
  records_.holds(mfn) = 1;
  --owned_;
  if (traced) {
    traced->frame = mfn;
    traced->marks.cleared = taken->cleared;
  }
  return mfn;
}

Verdict<> Validator::deallocate(Held, Mfn mfn) {
  TracedOperation traced(*this, TraceKind::deallocate, mfn);
  return traced.run([&]() -> Verdict<> {
    if (auto owned = check_owned(mfn); !owned) return owned;
    FrameFacts& frame = mutable_facts(mfn);
    if (frame.special) return refuse(Rule::frame_special, mfn);
    if (!frame.allocated) return refuse(Rule::frame_not_owned, mfn);
    frame.allocated = false;
    free_if_unreferenced(mfn);
    return {};
  });
}

bool Validator::is_unused(Mfn mfn) const {
  if (!owns(mfn)) return false;
  const FrameFacts& frame = facts(mfn);
  return frame.allocated && !frame.special && records_.uses(mfn).refs == 0 && !records_.is_counted(mfn) &&
         !is_protected(frame.type) && frame.mirror == 0;
}

bool Validator::deallocate_run(Held, Mfn first, std::uint64_t count) {
  if (trace_ != nullptr) return false;
  for (std::uint64_t i = 0; i < count; ++i)
    if (!is_unused(first.plus(i))) return false;
  budget_.spend(cost::view + count);
  if (!view_.revoke_run(first, count)) return false;
  for (std::uint64_t i = 0; i < count; ++i) give_back(first.plus(i));
  owned_ -= count;
  return true;
}

/// To the machine. No virtual machine has access to it.
void Validator::give_back(Mfn mfn) {
  set_m2p(mfn, no_pfn);
  records_.forget(mfn);
  frames_.give_back(mfn);
}

Verdict<> Validator::check_exchangeable(Held, Mfn mfn) const {
  TracedOperation traced(*this, TraceKind::check_exchange, mfn);
  const auto refusal = [&](Rule rule) {
    return tl::unexpected(Refusal{rule, no_mfn, 0, Pte(), mfn, contains(mfn) ? frame(mfn) : Frame{}});
  };
  return traced.run([&]() -> Verdict<> {
    if (const auto rule = why_not_exchangeable(mfn)) return refusal(*rule);
    return {};
  });
}

std::optional<Rule> Validator::why_not_exchangeable(Mfn mfn) const {
  if (!owns(mfn)) return Rule::frame_not_owned;
  if (facts(mfn).special) return Rule::frame_special;
  if (!facts(mfn).allocated || frame(mfn).refs != 1) return Rule::frame_in_use;
  return std::nullopt;
}

/// The last reference was dropped: the frame leaves the view and the domain. It is cleared before anyone gets
/// it again. If the host can't take it out of the view, it stays in the domain's reservation: no other domain
/// may get it while this one can reach it (XSA-222).
void Validator::free_frame(Mfn mfn) {
  FrameFacts& frame = mutable_facts(mfn);
  if (records_.is_counted(mfn) || is_protected(frame.type) || frame.mirror != 0) [[unlikely]] {
    // Somebody relies on it still: an entry was dropped that held none of its references.
    records_.uses(mfn).refs = 1;
    return note_stray(mfn);
  }
  budget_.spend(cost::view);
  view_.revoke(mfn);
  if (!view_.revoked(mfn)) [[unlikely]] {
    if (trace_ != nullptr) trace_host_refusal(mfn, true);
    if (frame.special) ++owned_;
    frame.special = false;
    frame.allocated = true;
    frame.window = view_.is_window_open(mfn);
    return;
  }
  if (trace_ != nullptr) trace_frame_change(TraceKind::freed_frame, mfn, FrameType::none);
  if (!frame.special) --owned_;
  give_back(mfn);
}

void Validator::machine_grew(Held, std::uint64_t frames) {
  TracedOperation traced(*this, TraceKind::machine_grew);
  if (traced) traced->count = frames;
  records_.grow(frames);
  if (trace_ == nullptr) short_way_end_ = frames;
}

std::uint64_t Validator::destroy(Held held) {
  if (trace_ != nullptr) {
    TraceEvent state;
    state.kind = TraceKind::state;
    const auto digests = state_digests(held, *this);
    state.digests = digests;
    trace_->event(state);
  }
  TracedOperation traced(*this, TraceKind::destroy);
  // One event for all of it, not one for each table and frame that ends.
  TraceSink* const sink = std::exchange(trace_, nullptr);
  const std::uint64_t left = give_back_everything(held);
  trace_ = sink;
  if (traced) traced->count = left;
  return left;
}

std::uint64_t Validator::give_back_everything(Held held) {
  budget_ = Budget::unlimited();
  while (unfinished_.has_interrupted()) {
    const Mfn table = unfinished_.any_interrupted();
    give_up(table, unfinished_.resume(table));
  }
  (void)releases_finished();
  std::uint64_t left = 0;
  for (std::uint64_t i = 1; i < records_.size(); ++i)
    if (owns(Mfn(i)) && facts(Mfn(i)).pinned) (void)unpin(held, Mfn(i));
  for (std::uint64_t i = 1; i < records_.size(); ++i) {
    const Mfn mfn(i);
    if (!owns(mfn)) continue;
    FrameFacts& frame = mutable_facts(mfn);
    if (frame.special) {
      drop_type(mfn);
    } else if (frame.allocated) {
      frame.allocated = false;
      free_if_unreferenced(mfn);
    }
    if (owns(mfn)) ++left;
  }
  // Its tables are gone, and with them all entries that named frames of other domains.
  const BorrowedFrames borrowed = std::exchange(borrowed_, {});
  for (const auto& [mfn, mappings] : borrowed.all()) {
    if (records_.uses(mfn).refs != 0) ++left;
    records_.forget(mfn);
  }
  return left;
}

}  // namespace pinfold::pvmmu
