// An array that is as long as a log says its machine is, and takes memory where it is used.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace pinfold::report {

/// Elements begin as T{}. Indexes are below `size`.
template <class T>
class Sparse {
 public:
  explicit Sparse(std::uint64_t size) : size_(size), chunks_((size + chunk - 1) / chunk) {}

  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] T get(std::uint64_t i) const {
    const auto& part = chunks_[i / chunk];
    return part ? (*part)[i % chunk] : T{};
  }
  [[nodiscard]] T& at(std::uint64_t i) {
    auto& part = chunks_[i / chunk];
    if (!part) part = std::make_unique<std::array<T, chunk>>();
    return (*part)[i % chunk];
  }
  void clear() {
    for (auto& part : chunks_) part.reset();
  }

 private:
  static constexpr std::uint64_t chunk = 512;
  std::uint64_t size_;
  std::vector<std::unique_ptr<std::array<T, chunk>>> chunks_;
};

}  // namespace pinfold::report
