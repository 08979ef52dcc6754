#include "vmm/memory/mapping_budget.hpp"

#include <algorithm>

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t usual_limit = 65530;  // Linux's DEFAULT_MAX_MAP_COUNT
constexpr std::uint64_t most_for_the_monitor = 8192;
constexpr std::uint64_t piece = 128;

}  // namespace

MappingBudget::MappingBudget(std::uint64_t limit, std::uint64_t views) {
  if (limit == 0) limit = usual_limit;
  const std::uint64_t for_views = limit - std::min(most_for_the_monitor, limit / 4);
  guaranteed_ = for_views / (4 * views);
  common_ = for_views - views * guaranteed_;
  most_ = guaranteed_ + common_;
}

bool MappingBudget::Share::change(std::int64_t more) {
  if (more < 0) {
    used_ -= static_cast<std::uint64_t>(-more);
    if (const std::uint64_t spare = taken_ - used_; spare >= 2 * piece) {
      budget_.give_back(taken_, spare - piece);
      taken_ = used_ + piece;
    }
    return true;
  }
  const std::uint64_t wanted = used_ + static_cast<std::uint64_t>(more);
  if (wanted > taken_) {
    const std::uint64_t needed = wanted - taken_;
    if (budget_.take(taken_, needed + piece))
      taken_ += needed + piece;
    else if (budget_.take(taken_, needed))
      taken_ += needed;
    else
      return false;
  }
  used_ = wanted;
  return true;
}

bool MappingBudget::take(std::uint64_t had, std::uint64_t count) {
  const std::uint64_t of_common = beyond(had + count) - beyond(had);
  if (of_common == 0) return true;
  const std::scoped_lock lock(mutex_);
  if (of_common > common_) return false;
  common_ -= of_common;
  return true;
}

void MappingBudget::give_back(std::uint64_t had, std::uint64_t count) {
  const std::uint64_t to_common = beyond(had) - beyond(had - count);
  if (to_common == 0) return;
  const std::scoped_lock lock(mutex_);
  common_ += to_common;
}

}  // namespace pinfold::vmm
