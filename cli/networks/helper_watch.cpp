#include "cli/networks/helper_watch.hpp"

#include <utility>

namespace pinfold::cli {

std::vector<std::string> HelperWatch::lines(bool guest_runs) {
  for (HelperTrouble& trouble : find_()) {
    if (troubles_.empty()) since_ = Clock::now();
    troubles_.push_back(std::move(trouble));
  }
  if (troubles_.empty() || (guest_runs && Clock::now() - since_ < until_told)) return {};
  std::vector<std::string> lines;
  for (const HelperTrouble& trouble : std::exchange(troubles_, {}))
    lines.push_back(guest_runs ? trouble.what + "; " + trouble.consequence : trouble.what);
  return lines;
}

}  // namespace pinfold::cli
