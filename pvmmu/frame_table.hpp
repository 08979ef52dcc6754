// The records of all frames of the machine, and the pool of frames that nobody owns.
#pragma once

#include <cstdlib>
#include <memory>
#include <optional>
#include <span>

#include "pvmmu/frame.hpp"
#include "pvmmu/free_frames.hpp"
#include "pvmmu/lock.hpp"

namespace pinfold::pvmmu {

/// One record per machine frame, frame 0 up. Shared by all domains of the machine; a domain's records are
/// guarded by that domain's lock, the pool by a lock of its own, which its members take. A frame changes
/// owner under the pool's lock alone: what is in the pool is nobody's, and what is taken has its owner before
/// anyone else looks.
class FrameTable {
 public:
  /// `frames`: size of the machine in 4 KiB frames. Memory for the records is taken lazily, zeroed by the
  /// system.
  explicit FrameTable(std::uint64_t frames);

  /// Frames side by side.
  struct Range {
    Mfn first;
    std::uint64_t count = 0;
    [[nodiscard]] Mfn end() const { return first.plus(count); }
    [[nodiscard]] bool contains(Mfn mfn) const { return mfn.raw() - first.raw() < count; }
  };
  /// No domain ever gets these frames of the machine. To be said before any frame is taken.
  void withhold(Range range) { withheld_ = range; }
  [[nodiscard]] Range withheld() const { return withheld_; }

  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] bool contains(Mfn mfn) const { return mfn.raw() < size_; }
  [[nodiscard]] Frame& operator[](Mfn mfn) { return records_[mfn.raw()]; }
  [[nodiscard]] const Frame& operator[](Mfn mfn) const { return records_[mfn.raw()]; }

  /// All records, for whoever decides what memory is behind them.
  [[nodiscard]] std::span<Frame> records() { return {records_.get(), size_}; }

  /// What a domain (by its tag) may know of a frame: all of its own, of others' the owner.
  [[nodiscard]] Frame as_seen_by(std::uint16_t tag, Mfn mfn) const;

  /// Takes `count` contiguous frames out of the pool for `owner`, the first at a multiple of `alignment`;
  /// nullopt if there are none. `used_before` says whether a frame may hold somebody's data: who takes it
  /// must scrub it. Frames that were never used serve any request that they are enough for. Of those that
  /// were given back an extent is at most 2^FreeFrames::max_order frames, at a power of two.
  struct Taken {
    Mfn first;
    bool used_before = false;
  };
  [[nodiscard]] std::optional<Taken> take(DomId owner, std::uint64_t count = 1, std::uint64_t alignment = 1);
  /// Puts a frame back that the caller's domain owns; its record becomes all zero.
  void give_back(Mfn mfn);
  [[nodiscard]] std::uint64_t free_frames() const;
  /// What finding and giving back frames has cost, in words looked at under the pool's lock: for tests.
  [[nodiscard]] std::uint64_t pool_steps() const;

 private:
  struct Free {
    void operator()(Frame* p) const { std::free(p); }
  };
  std::optional<Taken> find(PoolHeld held, std::uint64_t count, std::uint64_t alignment);
  std::optional<Taken> find_returned(PoolHeld, std::uint64_t count, std::uint64_t alignment);
  std::unique_ptr<Frame[], Free> records_;
  std::uint64_t size_;
  Range withheld_{};
  mutable PoolMutex pool_;  ///< Guards what follows.
  std::uint64_t next_ =
      1;  ///< Frames from here up were never used. Frame 0 stays unused: a zero is no frame number.
  FreeFrames returned_;
};

}  // namespace pinfold::pvmmu
