// A log's operations, given to fresh validators.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "trace/replayed_domain.hpp"

namespace pinfold::trace {

/// Validators that live the domains of a log again, event by event, and are compared with it at each:
/// verdicts with all that they say, counts, entries, what changed its type, flushes; at a domain's end, all
/// frames.
///
///     auto replay = Replay::of(log->header());
///     while (log->next() == LogReader::Step::event)
///       if (auto difference = (*replay)->step(log->event())) …
///
/// Nothing in a log can make it do anything but find a difference. After a difference it can go on no more.
class Replay {
 public:
  /// The error: the host has no room for a machine like that.
  [[nodiscard]] static tl::expected<std::unique_ptr<Replay>, std::string> of(const LogHeader& header);

  /// What differs; nullopt: nothing.
  [[nodiscard]] std::optional<std::string> step(const LogEvent& event);

  /// As they are after the last operation: those that live, and of those that have ended, which a later one
  /// did not replace.
  [[nodiscard]] const std::map<DomId, std::unique_ptr<ReplayedDomain>>& domains() const { return domains_; }
  /// Whose frame it is; the first domain if it is nobody's.
  [[nodiscard]] const ReplayedDomain& domain_of(Mfn mfn) const;
  /// The machine-to-phys array.
  [[nodiscard]] pvmmu::Pages m2p() const { return machine_.m2p.pages(); }
  [[nodiscard]] std::uint64_t operations() const;
  /// How many domains have begun.
  [[nodiscard]] std::uint64_t begun() const { return begun_; }
  [[nodiscard]] std::uint64_t living() const;
  /// Have all domains ended, and was the state at the end of each compared?
  [[nodiscard]] bool compared_end() const { return living() == 0 && compared_ == begun_; }

 private:
  Replay(const LogHeader& header, SparseMemory memory, SparseMemory m2p);
  std::optional<std::string> begin(const LogHeader& domain);
  std::optional<std::string> begin(const LogEvent& event);
  [[nodiscard]] bool lives(DomId domain) const;

  ReplayedMachine machine_;
  std::map<DomId, std::unique_ptr<ReplayedDomain>> domains_;
  std::uint64_t begun_ = 0, compared_ = 0, operations_of_replaced_ = 0;
};

}  // namespace pinfold::trace
