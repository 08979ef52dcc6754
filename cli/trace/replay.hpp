// A log's operations, given to a fresh validator.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "pvmmu/mirror.hpp"
#include "pvmmu/validator.hpp"
#include "trace/format.hpp"
#include "trace/sparse_memory.hpp"

namespace pinfold::trace {

/// A validator that lives a log's domain again, event by event, and is compared with it at each: verdicts
/// with all that they say, counts, entries, what changed its type, flushes; at the end, all frames.
///
///     auto replay = Replay::of(log->header());
///     while (log->next() == LogReader::Step::event)
///       if (auto difference = (*replay)->step(log->event())) …
///
/// Nothing in a log can make it do anything but find a difference: what callers of a validator must keep to
/// (a root is loaded, a reference held) is checked here first. After a difference it can go on no more.
class Replay {
 public:
  /// The error: the host has no room for a machine like that.
  [[nodiscard]] static tl::expected<std::unique_ptr<Replay>, std::string> of(const LogHeader& header);

  /// What differs; nullopt: nothing.
  [[nodiscard]] std::optional<std::string> step(const LogEvent& event);

  /// As it is after the last operation.
  [[nodiscard]] const pvmmu::Validator& mmu() const { return mmu_; }
  /// The machine-to-phys array.
  [[nodiscard]] pvmmu::Pages m2p() const { return m2p_.pages(); }
  [[nodiscard]] pvmmu::Held held() const { return held_; }
  [[nodiscard]] std::uint64_t operations() const { return operations_; }
  /// Was the state at the domain's end compared?
  [[nodiscard]] bool compared_end() const { return compared_end_; }

 private:
  /// What happened within an operation, as it was recorded.
  struct Within {
    pvmmu::TraceEvent event;
    std::vector<std::uint64_t> contents;
  };

  /// Hears the new validator, and compares what it says with what was recorded.
  class Listener final : public pvmmu::TraceSink {
   public:
    explicit Listener(const LogHeader& header) : header_(header) {}
    void started(const pvmmu::ValidatorParts&) override {}
    void operation_begins() override {}
    void event(const pvmmu::TraceEvent& event) override;
    void vcpu_entered(VcpuId, GuestVaddr, std::uint64_t) override {}
    /// What comes next is to be this.
    void expect(const LogEvent& event);
    /// The difference, once the operation is over.
    [[nodiscard]] std::optional<std::string> result();
    [[nodiscard]] const Within* next_within() const { return at_ < within.size() ? &within[at_] : nullptr; }
    void differs(std::string text);

    std::vector<Within> within;

   private:
    const LogHeader& header_;
    const LogEvent* expected_ = nullptr;
    std::size_t at_ = 0;
    bool told_ = false;
    std::optional<std::string> difference_;
  };

  /// What was in a frame when it became read-only, and what the host refused, as recorded.
  class View final : public pvmmu::FrameView {
   public:
    View(Listener& listener, pvmmu::Pages machine) : listener_(listener), machine_(machine) {}
    bool protect(Mfn mfn) override;
    void unprotect(Mfn) override {}
    void grant(Mfn, std::uint64_t) override {}
    void revoke(Mfn) override {}
    [[nodiscard]] bool revoked(Mfn mfn) const override;
    [[nodiscard]] bool lend(Mfn, pvmmu::Loan) override { return false; }  // logs have one domain

   private:
    Listener& listener_;
    pvmmu::Pages machine_;
  };

  Replay(const LogHeader& header, SparseMemory machine, SparseMemory m2p, SparseMemory mirrors);
  std::optional<std::string> apply(const LogEvent& event);
  std::optional<std::string> apply_to_table(const LogEvent& event);
  std::optional<std::string> apply_to_root(const LogEvent& event);
  std::optional<std::string> apply_to_frame(const LogEvent& event);
  std::optional<std::string> apply_to_reservation(const LogEvent& event);
  std::optional<std::string> compare_state(const LogEvent& event);
  [[nodiscard]] bool is_live_l1(Mfn mfn) const;

  LogHeader header_;
  SparseMemory machine_, m2p_, arena_;
  pvmmu::FrameTable frames_;
  pvmmu::MirrorArena mirrors_;
  pvmmu::StaleLog stale_{false};
  Listener listener_;
  View view_;
  pvmmu::Validator mmu_;
  pvmmu::DomainMutex mutex_;
  pvmmu::DomainLock held_{mutex_};
  std::multiset<Mfn> roots_, holds_, readers_;
  std::uint64_t operations_ = 0;
  bool over_ = false, compared_end_ = false;
};

}  // namespace pinfold::trace
