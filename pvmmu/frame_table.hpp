// Who owns each frame of the machine, and the pool of frames that nobody owns.
#pragma once

#include <optional>

#include "pvmmu/frame.hpp"
#include "pvmmu/free_frames.hpp"
#include "pvmmu/lock.hpp"
#include "pvmmu/sparse_array.hpp"

namespace pinfold::pvmmu {

/// The owner's tag of each machine frame, from frame 0 up: the owner's number + 1, 0 for nobody. All domains
/// of the machine share the table; what a domain knows of its frames is in DomainRecords. The pool has a lock
/// of its own, which the members take. A frame changes its owner only under that lock: a frame in the pool
/// has no owner, and a frame that is taken has one before anyone else sees it.
///
/// Concurrency: a domain may read a tag, to find out whose a frame is, while another domain changes it. Each
/// access is one atomic load or store.
class FrameTable {
 public:
  /// `frames`: size of the machine in 4 KiB frames. Throws std::bad_alloc.
  explicit FrameTable(std::uint64_t frames) : FrameTable(frames, frames) {}
  /// `most`: what it can grow to.
  FrameTable(std::uint64_t frames, std::uint64_t most);

  /// Frames side by side.
  struct Range {
    Mfn first;
    std::uint64_t count = 0;
    [[nodiscard]] Mfn end() const { return first.plus(count); }
    [[nodiscard]] bool contains(Mfn mfn) const { return mfn.raw() - first.raw() < count; }
  };
  /// No domain ever gets these frames, whether the machine has them already or is yet to grow. To be called
  /// before any frame is taken.
  void withhold(Range range) { withheld_ = range; }
  /// Those of them that the machine has.
  [[nodiscard]] Range withheld() const;

  [[nodiscard]] std::uint64_t size() const;
  [[nodiscard]] std::uint64_t most() const { return most_; }
  /// Memory for the tags of a machine of `frames`, `most()` at most; no frame exists before grow(). False:
  /// the host refuses.
  [[nodiscard]] bool make_room(std::uint64_t frames) const { return tags_.grow(frames); }
  /// The machine has `frames` now, the new ones in the pool.
  void grow(std::uint64_t frames);
  [[nodiscard]] std::uint16_t owner_tag(Mfn mfn) const {
    return std::atomic_ref(tags_[mfn.raw()]).load(std::memory_order_relaxed);
  }
  /// The tag of a domain.
  [[nodiscard]] static constexpr std::uint16_t tag_of(DomId d) {
    return static_cast<std::uint16_t>(d.raw() + 1);
  }

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
  /// For a replay: the next take() gets these frames, or none. From the first call on the pool has no say;
  /// the caller sees to it that nobody has the frames.
  void prescribe(std::optional<Taken> next);
  /// Puts a frame back that the caller's domain owned, and knows nothing of any more.
  void give_back(Mfn mfn);
  /// The caller's domain, which knows nothing of the frame any more, has it no longer. The frame is nobody's,
  /// but not in the pool, until put_in() or give_back().
  void take_out(Mfn mfn);
  void put_in(Mfn mfn, DomId owner);
  [[nodiscard]] std::uint64_t free_frames() const;
  /// How many of them were never used and lie side by side: take() finds this many for an alignment of 1,
  /// unless somebody else does first.
  [[nodiscard]] std::uint64_t unused_extent() const;
  /// How many words were read under the pool's lock to find frames and give them back: for tests.
  [[nodiscard]] std::uint64_t pool_steps() const;

 private:
  [[nodiscard]] Range withheld(PoolHeld) const;
  std::optional<Taken> find(PoolHeld held, std::uint64_t count, std::uint64_t alignment);
  std::optional<Taken> find_returned(PoolHeld, std::uint64_t count, std::uint64_t alignment);
  friend struct StateAccess;  ///< Of tests that go back to earlier states.
  void set_owner_tag(Mfn mfn, std::uint16_t tag) {
    std::atomic_ref(tags_[mfn.raw()]).store(tag, std::memory_order_relaxed);
  }
  SparseArray<std::uint16_t> tags_;
  std::uint64_t most_;
  Range withheld_{};
  mutable PoolMutex pool_;  ///< Guards what follows.
  std::uint64_t size_;
  bool prescribed_ = false;
  std::optional<Taken> next_taken_;  ///< If prescribed.
  /// Frames from here up were never used. Frame 0 stays unused: a zero is no frame number.
  std::uint64_t next_ = 1;
  FreeFrames returned_;
};

}  // namespace pinfold::pvmmu
