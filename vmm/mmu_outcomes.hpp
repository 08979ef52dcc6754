// How a domain's MMU hypercalls went: when to audit, and when a guest gets nowhere.
#pragma once

#include <cstdint>

namespace pinfold::vmm {

/// Under the domain's lock.
class MmuOutcomes {
 public:
  /// A guest that asks for nothing but what is refused, so many times in a row, keeps the monitor busy and
  /// gets nowhere: it is ended.
  static constexpr std::uint64_t refusal_limit = 10'000;

  /// `audit_interval`: MMU hypercalls between two audits; 0: none.
  explicit MmuOutcomes(std::uint64_t audit_interval) : audit_interval_(audit_interval) {}

  /// Counts one MMU hypercall. True: it is time for an audit.
  [[nodiscard]] bool count() {
    if (audit_interval_ == 0 || ++since_audit_ < audit_interval_) return false;
    since_audit_ = 0;
    return true;
  }
  /// Notes whether a request was done or refused. True: the guest reached `refusal_limit`.
  [[nodiscard]] bool note(bool done) {
    refusals_in_a_row_ = done ? 0 : refusals_in_a_row_ + 1;
    return refusals_in_a_row_ >= refusal_limit;
  }
  [[nodiscard]] std::uint64_t refusals_in_a_row() const { return refusals_in_a_row_; }

 private:
  std::uint64_t audit_interval_;
  std::uint64_t since_audit_ = 0;
  std::uint64_t refusals_in_a_row_ = 0;
};

}  // namespace pinfold::vmm
