// Changes of frames in the order of time become histories in the order of frames.
#pragma once

#include <span>
#include <vector>

#include "report/model.hpp"

namespace pinfold::report {

/// Collects what a follower says of frames.
class Histories {
 public:
  explicit Histories(std::size_t most) : most_(most) {}

  void note(std::uint32_t event, Mfn first, std::uint64_t count, Look look);
  /// More than could be kept: changes that are missing.
  [[nodiscard]] std::uint64_t left_out() const { return left_out_; }

  struct Result {
    std::vector<Run> runs;
    std::uint32_t resolution = 1;  ///< Events; a power of two.
  };
  /// At most `most` changes in all runs together (or as many as there are ranges of frames with none in
  /// common): what a frame was for less than `resolution` events, and isn't any more, is left out. Once.
  [[nodiscard]] Result result(std::size_t most);

 private:
  struct One {
    std::uint32_t frame, event;
    Look look;
  };
  /// A change of many frames at once.
  struct Many {
    std::uint64_t first, end;
    Change change;
  };
  static constexpr std::size_t most_ranges = 1024;

  [[nodiscard]] std::vector<Change> history(std::span<const One> own, std::uint64_t frame,
                                            std::uint32_t resolution) const;
  [[nodiscard]] std::vector<Run> runs(std::uint32_t resolution) const;

  std::size_t most_;
  std::vector<One> ones_;
  std::vector<Many> ranges_;
  std::uint64_t left_out_ = 0;
};

}  // namespace pinfold::report
