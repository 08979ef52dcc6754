// How much work on frames a log may ask for.
#pragma once

#include <algorithm>
#include <cstdint>

#include "trace/format.hpp"

namespace pinfold::trace {

/// Nearly all events are about one frame or one table, and cost a reader no more than their bytes are worth.
/// A few are about as many frames as they like: a log of a few hundred bytes can allocate all frames of a
/// machine of 256 GiB. What those ask for is added up, and must stay within what the log's length allows. A
/// frame costs a replay about 32 bytes of memory (its record, its machine-to-phys entry, its place in the
/// pool).
class Allowance {
 public:
  /// That any log may ask for: those of a machine of 16 GiB.
  static constexpr std::uint64_t frames_of_any_log = 1ULL << 22;
  /// More for each byte of the log, as it lies on the disk.
  static constexpr std::uint64_t frames_per_byte = 256;

  /// Counts an event; false: it is more than a log of `length` bytes may ask for.
  [[nodiscard]] bool spend(const LogHeader& header, const LogEvent& event, std::uint64_t length) {
    const std::uint64_t work = frames_of(header, event);
    // No sum overflows: one event is 2^35 frames at most.
    spent_ += work;
    return work == 0 || spent_ <= frames_of_any_log ||
           (spent_ - frames_of_any_log) / frames_per_byte <= length;
  }
  [[nodiscard]] std::uint64_t spent() const { return spent_; }

 private:
  std::uint64_t frames_of(const LogHeader& header, const LogEvent& event) {
    using pvmmu::TraceKind;
    const std::uint64_t all = std::max(header.machine_frames, grown_), count = std::min(event.count, all);
    switch (event.kind) {
      case TraceKind::allocate: {
        // In version 1, what is skipped to reach the alignment goes back into the pool, and what comes from
        // there is scrubbed. Later ones say what is: that touches a whole page.
        const bool by_pool = header.version == oldest_version;
        const std::uint64_t skipped =
            by_pool ? std::min(std::max<std::uint64_t>(event.argument, 1) - 1, all) : 0;
        const std::uint64_t scrubbed = by_pool ? std::min(count, returned_) : event.marks.cleared ? count : 0;
        returned(skipped, all);
        return count + skipped + scrubbed * frames_per_page;
      }
      case TraceKind::set_machphys: return count;
      case TraceKind::deallocate: returned(1, all); return 0;
      case TraceKind::freed_frame: returned(std::max<std::uint64_t>(count, 1), all); return count;
      case TraceKind::destroy: return all / pvmmu::entries_per_table;
      case TraceKind::machine_grew: grown_ = std::min(event.count, header.most_frames); return 0;
      // At its end, all its records are looked at.
      case TraceKind::domain_begins: return all / frames_per_domain + 1;
      default: return 0;
    }
  }
  void returned(std::uint64_t frames, std::uint64_t all) { returned_ = std::min(returned_ + frames, all); }

  static constexpr std::uint64_t frames_per_page = 128;  ///< By their memory.
  static constexpr std::uint64_t frames_per_domain = 64;
  std::uint64_t spent_ = 0;
  std::uint64_t grown_ = 0;     ///< Frames of the machine, if it grew.
  std::uint64_t returned_ = 0;  ///< Frames in the pool that may have been used before, at most.
};

}  // namespace pinfold::trace
