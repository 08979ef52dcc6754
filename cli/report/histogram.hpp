// How many of something there were when, in few numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pinfold::report {

/// How many, by time: as many buckets as there is place for, wider with each doubling of the log.
class Histogram {
 public:
  explicit Histogram(std::size_t most) : most_(most) {}
  void note(std::uint32_t event);
  [[nodiscard]] std::uint32_t bucket() const { return bucket_; }
  [[nodiscard]] const std::vector<std::uint32_t>& counts() const { return counts_; }

 private:
  std::size_t most_;
  std::uint32_t bucket_ = 1;
  std::vector<std::uint32_t> counts_;
};

}  // namespace pinfold::report
