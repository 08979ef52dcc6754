#include "report/histogram.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::report {

void Histogram::note(std::uint32_t event) {
  while (event / bucket_ >= most_) {
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      const std::uint32_t count = std::exchange(counts_[i], 0);
      counts_[i / 2] += count;
    }
    counts_.resize((counts_.size() + 1) / 2);
    bucket_ *= 2;
  }
  counts_.resize(std::max<std::size_t>(counts_.size(), event / bucket_ + 1));
  ++counts_[event / bucket_];
}

}  // namespace pinfold::report
