// Mappings of what domains grant each other: who mapped which frame, by which grant, from when until when.
#pragma once

#include <map>
#include <vector>

#include "report/histogram.hpp"
#include "trace/format.hpp"

namespace pinfold::report {

/// An L1 entry that maps a frame by a grant: events [from, to).
struct Loan {
  std::uint16_t pair = 0;  ///< In Loans::Result::pairs.
  bool writable = false;
  std::uint16_t slot = 0;
  std::uint32_t grant = 0;  ///< Its reference in the lender's table.
  std::uint32_t frame = 0, table = 0;
  std::uint32_t from = 0, to = 0;
  friend bool operator==(const Loan&, const Loan&) = default;
};

/// What one domain mapped of another one.
struct LoanPair {
  DomId mapper, lender;  ///< `lender`: no_domain if the log does not say it.
  std::uint64_t maps = 0, ended = 0, refused = 0;
  std::uint32_t bucket = 1;            ///< Events in a bucket of:
  std::vector<std::uint32_t> maps_in;  ///< Mappings by bucket.
};

/// Follows the events of grants. Bounded, whatever the log says: there are so many pairs of domains, and so
/// many mappings of a pair are kept, the first ones; all of a pair are counted.
class Loans {
 public:
  struct Limits {
    std::size_t pairs = 64, of_a_pair = 4'000, buckets = 512;
  };
  struct Result {
    std::vector<LoanPair> pairs;  ///< In the order in which they began.
    std::vector<Loan> loans;      ///< In the order in which they were mapped.
    std::uint64_t left_out = 0;   ///< Mappings, and refusals, that belong to no pair of these.
  };

  explicit Loans(const Limits& limits) : limits_(limits) {}
  /// `at`: the event's number.
  void event(const trace::LogEvent& event, std::uint32_t at);
  /// Mappings that are still there last to `end`. Once.
  [[nodiscard]] Result result(std::uint32_t end);

 private:
  struct Open {
    std::size_t pair;
    std::size_t loan;  ///< In result_.loans, or kept_not.
  };
  static constexpr std::size_t kept_not = ~std::size_t{0};
  /// Mappings of one domain that are there, by place: table << 9 | slot.
  using Places = std::map<std::uint64_t, Open>;

  LoanPair* pair_of(const trace::LogEvent& event, std::size_t& number);
  void map(const trace::LogEvent& event, std::uint32_t at);
  void end(Places& places, Places::iterator place, std::uint32_t at);
  void end_at(DomId domain, Mfn table, std::uint16_t slot, std::uint32_t at);
  void move(DomId domain, std::uint64_t from, std::uint64_t to);
  void end_table(DomId domain, Mfn table, std::uint32_t at);
  void end_all(DomId domain, std::uint32_t at);

  Limits limits_;
  Result result_;
  std::map<std::pair<DomId, DomId>, std::size_t> numbers_;  ///< Of pairs: mapper, lender.
  std::vector<Histogram> histograms_;                       ///< Of each pair.
  std::vector<std::size_t> kept_;                           ///< Of each pair: its loans.
  std::map<DomId, Places> open_;
  std::size_t opened_ = 0;  ///< In open_.
};

}  // namespace pinfold::report
