// A domain of a log, lived again by a fresh validator.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>

#include "pvmmu/mirror.hpp"
#include "pvmmu/validator.hpp"
#include "trace/format.hpp"
#include "trace/replay_listener.hpp"
#include "trace/sparse_memory.hpp"

namespace pinfold::trace {

/// What the domains of a log have in common. It outlives them.
struct ReplayedMachine {
  SparseMemory memory, m2p;
  pvmmu::FrameTable frames;
  LogHeader header;  ///< The log's.
  ReplayListener::Lives lives;
};

/// Gets the events of one domain. What callers of a validator must keep to (a root is loaded, a reference
/// held) is checked here first.
class ReplayedDomain {
 public:
  /// `header`: header_of_domain()'s, or the log's. The error: the host has no room for its mirrors.
  [[nodiscard]] static tl::expected<std::unique_ptr<ReplayedDomain>, std::string> of(
      const LogHeader& header, ReplayedMachine& machine);

  /// What differs; nullopt: nothing.
  [[nodiscard]] std::optional<std::string> step(const LogEvent& event);

  [[nodiscard]] const pvmmu::Validator& mmu() const { return mmu_; }
  [[nodiscard]] pvmmu::Held held() const { return held_; }
  [[nodiscard]] std::uint64_t operations() const { return operations_; }
  [[nodiscard]] bool has_ended() const { return over_; }
  /// Was the state at the domain's end compared?
  [[nodiscard]] bool compared_end() const { return compared_end_; }

 private:
  ReplayedDomain(const LogHeader& header, ReplayedMachine& machine, SparseMemory mirrors);
  std::optional<std::string> apply(const LogEvent& event);
  std::optional<std::string> apply_to_table(const LogEvent& event);
  std::optional<std::string> apply_to_root(const LogEvent& event);
  std::optional<std::string> apply_to_frame(const LogEvent& event);
  std::optional<std::string> apply_to_hold(const LogEvent& event);
  std::optional<std::string> apply_to_grant(const LogEvent& event);
  std::optional<std::string> apply_to_reservation(const LogEvent& event);
  std::optional<std::string> allocate(const LogEvent& event);
  std::optional<std::string> prescribe(const LogEvent& event);
  std::optional<std::string> receive(const LogEvent& event);
  std::optional<std::string> grow(const LogEvent& event);
  std::optional<std::string> end();
  std::optional<std::string> compare_state(const LogEvent& event);
  [[nodiscard]] bool is_live_l1(Mfn mfn) const;
  [[nodiscard]] bool is_free(Mfn first, std::uint64_t count) const;

  LogHeader header_;
  ReplayedMachine& machine_;
  SparseMemory arena_;
  pvmmu::MirrorArena mirrors_;
  pvmmu::StaleLog stale_{false};
  ReplayListener listener_;
  ReplayView view_;
  pvmmu::Validator mmu_;
  pvmmu::DomainMutex mutex_;
  pvmmu::DomainLock held_{mutex_};
  std::multiset<Mfn> roots_, holds_, readers_;
  std::uint64_t operations_ = 0;
  bool over_ = false, compared_end_ = false;
};

}  // namespace pinfold::trace
