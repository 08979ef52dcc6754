#include "devices/xenstore/memory_quota.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <limits>

namespace pinfold::devices::xenstore {
namespace {

constexpr std::chrono::seconds between_reports{60};

}  // namespace

std::uint64_t MemoryQuota::room(std::uint64_t held) const {
  if (quotas_.memory_hard == 0) return std::numeric_limits<std::uint64_t>::max();
  return quotas_.memory_hard - std::min(held, quotas_.memory_hard);
}

bool MemoryQuota::report(std::uint64_t held, Time now) {
  const Level now_at = level(held);
  if (now_at == told_ || (told_at_ && now - *told_at_ < between_reports)) return false;
  told_ = now_at;
  told_at_ = now;
  switch (now_at) {
    case Level::low:
      spdlog::info("xenstore: domain {} is below its soft memory quota again", domain_.raw());
      break;
    case Level::soft: spdlog::warn("xenstore: domain {} is over its soft memory quota", domain_.raw()); break;
    case Level::hard: spdlog::error("xenstore: domain {} has used up its memory quota", domain_.raw()); break;
  }
  return true;
}

/// A request is refused before the hard limit is reached; what has no room for the smallest one is there.
MemoryQuota::Level MemoryQuota::level(std::uint64_t held) const {
  constexpr std::uint64_t smallest_request = 1024;
  if (room(held) <= smallest_request) return Level::hard;
  return quotas_.memory_soft != 0 && held >= quotas_.memory_soft ? Level::soft : Level::low;
}

}  // namespace pinfold::devices::xenstore
