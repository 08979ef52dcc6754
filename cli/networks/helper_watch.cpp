#include "cli/networks/helper_watch.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::cli {

std::vector<std::string> HelperWatch::lines(bool guest_runs, Clock::time_point now) {
  for (HelperTrouble& trouble : find_()) {
    if (troubles_.empty()) since_ = now;
    troubles_.push_back(std::move(trouble));
  }
  const bool is_sure = std::any_of(troubles_.begin(), troubles_.end(),
                                   [](const HelperTrouble& trouble) { return trouble.was_killed; });
  if (troubles_.empty() || (guest_runs && !is_sure && now - since_ < until_told)) return {};
  std::vector<std::string> lines;
  for (const HelperTrouble& trouble : std::exchange(troubles_, {}))
    if (!guest_runs && !is_consequence(trouble))
      lines.push_back(trouble.what);
    else if (guest_runs && (!trouble.device || trouble.device->is_held()))
      lines.push_back(trouble.what + "; " + trouble.consequence);
  return lines;
}

bool HelperWatch::is_consequence(const HelperTrouble& trouble) {
  return trouble.ended_well && trouble.device && !trouble.device->is_held();
}

}  // namespace pinfold::cli
