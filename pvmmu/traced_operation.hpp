// One operation of the validator, as a TraceSink sees it.
#pragma once

#include <optional>

#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

/// Lives as long as the operation: made before its work begins, and sends the operation's event when it goes
/// out of scope. Without a sink it does nothing and is false. What the event says of the frame's counts, of
/// the flush duty and of the budget, this class finds out; the rest is filled in by the operation (`if
/// (traced) traced->count = count`).
class TracedOperation {
 public:
  /// `frame`: the frame that the operation is about, if that is known from the beginning.
  TracedOperation(const Validator& mmu, TraceKind kind, Mfn frame = no_mfn) : mmu_(mmu) {
    if (mmu.trace_ != nullptr) [[unlikely]]
      begin(kind, frame);
  }
  ~TracedOperation() {
    if (event_) [[unlikely]]
      end();
  }
  TracedOperation(const TracedOperation&) = delete;
  TracedOperation& operator=(const TracedOperation&) = delete;

  [[nodiscard]] explicit operator bool() const { return event_.has_value(); }
  /// The event. Only while a sink watches.
  [[nodiscard]] TraceEvent* operator->() { return &*event_; }
  /// The operation stores `want` in an entry of a table; what a plain frame holds is no entry. Only while a
  /// sink watches.
  void changes_entry(Mfn table, std::size_t slot, Pte want);
  /// The operation maps a grant by the entry at `where`, or unmaps what `granted` mapped. Only while a sink
  /// watches.
  void changes_grant(MachineAddr where, Pte granted, GrantName grant);
  /// Notes a refusal in the event.
  template <class T>
  void judged(const Verdict<T>& verdict) {
    if (event_ && !verdict) [[unlikely]]
      event_->refusal = verdict.error();
  }
  /// Does the operation's work, whose verdict this returns, and notes a refusal in the event.
  template <class Work>
  auto run(Work&& work) {
    auto verdict = work();
    judged(verdict);
    return verdict;
  }

 private:
  [[gnu::cold, gnu::noinline]] void begin(TraceKind kind, Mfn frame);
  [[gnu::cold, gnu::noinline]] void end();
  [[nodiscard]] std::optional<FrameState> state_of(Mfn mfn) const;

  const Validator& mmu_;
  std::optional<TraceEvent> event_;
  bool flush_before_ = false;  ///< The flush duty that earlier operations left.
};

}  // namespace pinfold::pvmmu
