#include "cli/config/vif_rate.hpp"

#include <charconv>

namespace pinfold::cli {
namespace {

/// Takes a number off the front, of at most 10^12.
std::optional<std::uint64_t> take_number(std::string_view& text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end == text.data() || number > 1'000'000'000'000) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

bool take(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

std::optional<std::uint64_t> take_interval(std::string_view& text) {
  if (text.empty()) return 50'000;
  if (!take(text, "@")) return std::nullopt;
  const auto number = take_number(text);
  if (!number || *number > 1'000'000'000) return std::nullopt;
  if (take(text, "us")) return number;
  if (take(text, "ms")) return *number * 1000;
  if (take(text, "s")) return *number * 1'000'000;
  return std::nullopt;
}

}  // namespace

std::optional<VifRate> parse_rate(std::string_view text) {
  const auto number = take_number(text);
  if (!number) return std::nullopt;
  const std::uint64_t prefix = take(text, "K")   ? 1000
                               : take(text, "M") ? 1'000'000
                               : take(text, "G") ? 1'000'000'000
                                                 : 1;
  const bool bits = take(text, "b/s");
  if (!bits && !take(text, "B/s")) return std::nullopt;
  const auto interval = take_interval(text);
  if (!interval || *interval == 0 || !text.empty()) return std::nullopt;
  // In floating point, as the product of two may be larger than 64 bits.
  const double bytes = static_cast<double>(*number) * static_cast<double>(prefix) / (bits ? 8 : 1) *
                       static_cast<double>(*interval) / 1e6;
  if (bytes < 1 || bytes > 1e15) return std::nullopt;
  return VifRate{static_cast<std::uint64_t>(bytes), std::chrono::microseconds(*interval)};
}

}  // namespace pinfold::cli
