// The records of all frames of the machine, and the pool of frames that nobody owns.
#pragma once

#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "pvmmu/frame.hpp"

namespace pinfold::pvmmu {

/// One record per machine frame, frame 0 up. Shared by all domains of the machine; a domain's records are
/// guarded by that domain's lock, the free pool by the caller (one machine lock).
class FrameTable {
 public:
  /// `frames`: size of the machine in 4 KiB frames. Memory for the records is taken lazily, zeroed by the
  /// system.
  explicit FrameTable(std::uint64_t frames);

  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] bool contains(Mfn mfn) const { return mfn.raw() < size_; }
  [[nodiscard]] Frame& operator[](Mfn mfn) { return records_[mfn.raw()]; }
  [[nodiscard]] const Frame& operator[](Mfn mfn) const { return records_[mfn.raw()]; }

  /// All records, for whoever decides what memory is behind them.
  [[nodiscard]] std::span<Frame> records() { return {records_.get(), size_}; }

  /// Takes `count` contiguous frames out of the pool, the first at a multiple of `alignment`; nullopt if
  /// there are none. `used_before` says whether a frame may hold somebody's data: who takes it must scrub it.
  struct Taken {
    Mfn first;
    bool used_before = false;
  };
  [[nodiscard]] std::optional<Taken> take(std::uint64_t count = 1, std::uint64_t alignment = 1);
  /// Puts a frame back. Its record must be all zero but for what this resets.
  void give_back(Mfn mfn);
  [[nodiscard]] std::uint64_t free_frames() const { return size_ - next_ + returned_.size(); }

 private:
  struct Free {
    void operator()(Frame* p) const { std::free(p); }
  };
  std::optional<Taken> take_returned(std::uint64_t count, std::uint64_t alignment);
  std::unique_ptr<Frame[], Free> records_;
  std::uint64_t size_;
  std::uint64_t next_ =
      1;  ///< Frames from here up were never used. Frame 0 stays unused: a zero is no frame number.
  std::vector<Mfn> returned_;
};

}  // namespace pinfold::pvmmu
