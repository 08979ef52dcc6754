// Follows a log, event by event, and says what each event made of which frame.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "report/look.hpp"
#include "report/sparse.hpp"
#include "trace/format.hpp"

namespace pinfold::report {

/// Receives the changes. Each was caused by the event that the follower was given last.
class FrameListener {
 public:
  virtual ~FrameListener() = default;
  /// `count` frames from `first` on look so now. They may have looked so before.
  virtual void looks(Mfn first, std::uint64_t count, Look look) = 0;
  /// An entry of an upper table names `child` now (`linked`), or names it no more.
  virtual void link(Mfn parent, std::uint16_t slot, Mfn child, bool linked) = 0;
};

/// How many frames are what, now.
struct FrameCounts {
  std::array<std::uint64_t, pvmmu::frame_types> tables{};  ///< By type; l1 to l4 and seg_desc are counted.
  std::uint64_t pinned = 0;
  std::uint64_t writable = 0;  ///< Frames that an L1 entry maps writable.
  friend bool operator==(const FrameCounts&, const FrameCounts&) = default;
};

/// Keeps the state of frames by a log: types and pins as recorded, and the contents of tables, because the
/// log does not record that a frame became writable when a table that maps it was validated. Memory is
/// bounded whatever the log says: beyond `most_tables` tables at a time, contents are not followed.
class FrameFollower {
 public:
  static constexpr std::size_t most_tables = 1U << 17;
  /// Frames that are looked at because an event is about many at once, over the whole log. A log that exceeds
  /// this is none of a guest's.
  static constexpr std::uint64_t most_range_work = 1ULL << 31;
  /// Domains that are told apart; those that begin later share the last number.
  static constexpr std::size_t most_domains = 256;

  FrameFollower(const trace::LogHeader& header, FrameListener& listener);
  ~FrameFollower();

  void event(const trace::LogEvent& event);
  [[nodiscard]] const FrameCounts& counts() const { return counts_; }
  /// Tables whose contents were not followed, and events about many frames that were not.
  [[nodiscard]] std::uint64_t unfollowed() const { return unfollowed_; }
  /// The number of a domain in a Look, from 0 in the order in which domains begin.
  [[nodiscard]] std::uint8_t number_of(DomId domain) const;

 private:
  struct Table;
  [[nodiscard]] bool exists(Mfn mfn) const { return mfn.raw() < looks_.size(); }
  [[nodiscard]] Look with_owner(Mfn mfn, Look look) const;
  void set(Mfn mfn, Look look);
  void set_range(Mfn first, std::uint64_t count, Look look);
  void count(Look look, std::uint64_t sign);
  void became_table(const trace::LogEvent& event);
  void ceased(Mfn mfn);
  void store(Mfn table, std::size_t slot, pvmmu::Pte entry);
  void enter(Mfn mfn, const Table& table, std::size_t slot, std::uint32_t word);
  void leave(Mfn mfn, const Table& table, std::size_t slot, std::uint32_t word);
  void operation(const trace::LogEvent& event);
  void note_state(const trace::LogEvent& event);
  void note_owner(const pvmmu::Refusal& refusal);
  void all_gone(DomId domain);
  void gone(std::uint64_t first, std::uint64_t frames);
  void moved(const trace::LogEvent& event);
  void owned_by(DomId domain, Mfn first, std::uint64_t count);
  [[nodiscard]] bool may_spend(std::uint64_t frames);
  void begins(DomId domain);

  FrameListener& listener_;
  std::uint64_t known_;           ///< Frames of the machine.
  Sparse<std::uint16_t> owners_;  ///< By frame: the domain + 1 that got it last.
  std::vector<DomId> domains_;    ///< By their number.
  Sparse<Look> looks_;
  Sparse<std::uint32_t> writable_maps_;  ///< By frame: L1 entries that map it writable.
  Sparse<std::uint32_t> table_of_;       ///< By frame: index in tables_ + 1.
  std::vector<std::unique_ptr<Table>> tables_;
  std::vector<std::uint32_t> free_tables_;
  FrameCounts counts_;
  std::uint64_t unfollowed_ = 0, range_work_ = 0;
};

}  // namespace pinfold::report
