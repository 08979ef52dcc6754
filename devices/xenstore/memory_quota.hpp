// How much memory one domain may make the store hold.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "devices/xenstore/operations.hpp"

namespace pinfold::devices::xenstore {

/// Judges a sum that others keep, and tells the log of it: a guest can make it do so once a minute at most.
/// Not thread-safe.
class MemoryQuota {
 public:
  using Time = std::chrono::steady_clock::time_point;
  MemoryQuota(DomId domain, const Quotas& quotas) : domain_(domain), quotas_(quotas) {}

  /// How many bytes may be added while the domain holds `held`; the greatest number without a limit.
  [[nodiscard]] std::uint64_t room(std::uint64_t held) const;
  /// The domain holds so much now. True if the log was told.
  bool report(std::uint64_t held, Time now);

 private:
  enum class Level : std::uint8_t { low, soft, hard };
  [[nodiscard]] Level level(std::uint64_t held) const;

  DomId domain_;
  const Quotas& quotas_;
  Level told_ = Level::low;
  std::optional<Time> told_at_;
};

}  // namespace pinfold::devices::xenstore
