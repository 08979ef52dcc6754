#include "cli/networks/helper_watch.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::cli {

std::vector<std::string> HelperWatch::lines(bool guest_runs) {
  for (HelperTrouble& trouble : find_()) {
    if (troubles_.empty()) since_ = Clock::now();
    troubles_.push_back(std::move(trouble));
  }
  const bool is_sure = std::any_of(troubles_.begin(), troubles_.end(),
                                   [](const HelperTrouble& trouble) { return trouble.was_killed; });
  if (troubles_.empty() || (guest_runs && !is_sure && Clock::now() - since_ < until_told)) return {};
  std::vector<std::string> lines;
  for (const HelperTrouble& trouble : std::exchange(troubles_, {}))
    lines.push_back(guest_runs ? trouble.what + "; " + trouble.consequence : trouble.what);
  return lines;
}

}  // namespace pinfold::cli
