// What a log says as a whole.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "trace/text.hpp"

namespace pinfold::trace {

/// Counts events as they come, then tells.
class Summary {
 public:
  void add(const LogEvent& event);
  /// A table for people: operations with what they cost, refusals by rule, the hottest tables and callers,
  /// how many operations came at a time, flushes; of several domains, also what each did, and what it mapped
  /// of the others.
  [[nodiscard]] std::string text(const LogHeader& header, const Namer& namer) const;
  [[nodiscard]] std::string json(const LogHeader& header, const Namer& namer) const;

 private:
  struct Operations {
    std::uint64_t count = 0, refused = 0, unfinished = 0, ticks = 0;
  };
  struct Domain {
    std::uint64_t events = 0, operations = 0, refused = 0, unfinished = 0;
  };
  struct Grants {
    std::uint64_t mapped = 0, unmapped = 0, copied = 0, refused = 0;
  };
  /// Pairs of domains; what others map of each other is counted together.
  static constexpr std::size_t most_pairs = 1024;
  void add_of_domain(const LogEvent& event, bool refused);
  void add_grant(const LogEvent& event);
  void add_domains(nlohmann::ordered_json& all) const;
  void end_batch();
  std::array<Operations, pvmmu::trace_kinds> kinds_{};
  std::map<pvmmu::Rule, std::uint64_t> rules_;
  std::map<DomId, Domain> domains_;
  std::map<std::pair<DomId, DomId>, Grants> grants_;  ///< By mapper and lender.
  Grants other_grants_;
  bool of_several_ = false;
  std::map<Mfn, std::uint64_t> tables_;
  std::map<std::uint64_t, std::uint64_t> callers_;
  std::map<std::uint64_t, std::uint64_t> batches_;  ///< By how many operations came at a time, powers of two.
  std::uint64_t events_ = 0, operations_ = 0, in_batch_ = 0, last_time_ = 0, flush_duties_ = 0,
                flushed_all_ = 0;
};

}  // namespace pinfold::trace
