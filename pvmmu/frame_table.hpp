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

/// One record per machine frame, from frame 0 up. All domains of the machine share the table. A domain's
/// records are guarded by that domain's lock, and the pool by a lock of its own, which the members take. A
/// frame changes its owner only under the pool's lock: a frame in the pool has no owner, and a frame that is
/// taken has one before anyone else sees it.
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
  /// No domain ever gets these frames of the machine. To be called before any frame is taken.
  void withhold(Range range) { withheld_ = range; }
  [[nodiscard]] Range withheld() const { return withheld_; }

  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] bool contains(Mfn mfn) const { return mfn.raw() < size_; }
  [[nodiscard]] Frame& operator[](Mfn mfn) { return records_[mfn.raw()]; }
  [[nodiscard]] const Frame& operator[](Mfn mfn) const { return records_[mfn.raw()]; }

  /// All records, for code that decides which memory they lie in (vmm/memory/large_pages.hpp).
  [[nodiscard]] std::span<Frame> records() { return {records_.get(), size_}; }

  /// What the domain with this tag may know of a frame: everything if the frame is its own, else only the
  /// owner.
  [[nodiscard]] Frame as_seen_by(std::uint16_t tag, Mfn mfn) const;

  /// Takes `count` contiguous frames out of the pool for `owner`, the first at a multiple of `alignment`;
  /// nullopt if there are none. If `used_before` is true the frames may hold somebody's data, and the caller
  /// must clear them. Frames that were never used can serve a request of any size. Among frames that were
  /// given back, an extent has at most 2^FreeFrames::max_order frames, and `alignment` must be a power of
  /// two.
  struct Taken {
    Mfn first;
    bool used_before = false;
  };
  [[nodiscard]] std::optional<Taken> take(DomId owner, std::uint64_t count = 1, std::uint64_t alignment = 1);
  /// Puts a frame back that the caller's domain owns; its record becomes all zero.
  void give_back(Mfn mfn);
  [[nodiscard]] std::uint64_t free_frames() const;
  /// How many words were read under the pool's lock to find frames and give them back: for tests.
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
  /// Frames from here up were never used. Frame 0 stays unused: a zero is no frame number.
  std::uint64_t next_ = 1;
  FreeFrames returned_;
};

}  // namespace pinfold::pvmmu
