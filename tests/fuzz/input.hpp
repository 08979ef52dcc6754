// Shared by all fuzz targets: how bytes become arguments, and how a target reports an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <type_traits>

/// libFuzzer's entry point, which each target defines once.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace pinfold::fuzz {

/// Ends the program. So the fuzzer learns that an input found an error.
[[noreturn]] inline void broken(const char* promise) {
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}
inline void promise(bool kept, const char* what) {
  if (!kept) broken(what);
}

/// An input, read from its start. Zeroes follow its end, so that each prefix is a valid input.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

  [[nodiscard]] bool empty() const { return rest_.empty(); }
  template <class T>
  [[nodiscard]] T take() {
    static_assert(std::is_integral_v<T>);
    T value{};
    const auto part = take_bytes(sizeof value);
    if (!part.empty()) std::memcpy(&value, part.data(), part.size());
    return value;
  }
  /// Returns fewer bytes at the end of the input.
  [[nodiscard]] std::span<const std::uint8_t> take_bytes(std::size_t most) {
    const auto part = rest_.first(most < rest_.size() ? most : rest_.size());
    rest_ = rest_.subspan(part.size());
    return part;
  }

 private:
  std::span<const std::uint8_t> rest_;
};

}  // namespace pinfold::fuzz
