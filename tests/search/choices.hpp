// The choices that come up during an operation, tried one after the other.
#pragma once

#include <cstddef>
#include <vector>

namespace pinfold::pvmmu::search {

/// Each run of an operation repeats the choices of the previous run up to the last one that has more options,
/// and takes the next option there. So all combinations are tried, however many choices each of them leads
/// to.
class Choices {
 public:
  /// The first run.
  void begin() {
    made_.clear();
    at_ = 0;
  }
  /// Prepares the next run. False: there is none.
  bool next() {
    at_ = 0;
    while (!made_.empty() && made_.back().option + 1 == made_.back().options) made_.pop_back();
    if (made_.empty()) return false;
    ++made_.back().option;
    return true;
  }
  /// Chooses one of `options` options, counted from 0.
  std::size_t pick(std::size_t options) {
    if (at_ == made_.size()) made_.push_back({0, options});
    return made_[at_++].option;
  }

 private:
  struct Made {
    std::size_t option, options;
  };
  std::vector<Made> made_;
  std::size_t at_ = 0;
};

}  // namespace pinfold::pvmmu::search
