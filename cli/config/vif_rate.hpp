// The rate of a network interface, as xl writes it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace pinfold::cli {

/// Bytes that may be transmitted in each interval.
struct VifRate {
  std::uint64_t bytes = 0;
  std::chrono::microseconds interval{0};
};

/// Parses "10Mb/s", "1MB/s@20ms" (xl-network-configuration(5)): a decimal prefix, bits or bytes, and an
/// interval, 50 ms if there is none. Nothing for any other text, which libxlutil refuses, too, and for a rate
/// of less than a byte in an interval.
[[nodiscard]] std::optional<VifRate> parse_rate(std::string_view text);

}  // namespace pinfold::cli
