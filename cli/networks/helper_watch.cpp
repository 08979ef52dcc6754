#include "cli/networks/helper_watch.hpp"

#include <utility>

namespace pinfold::cli {

std::vector<std::string> HelperWatch::lines(bool guest_runs) {
  for (std::string& trouble : networks_.troubles()) {
    if (troubles_.empty()) since_ = Clock::now();
    troubles_.push_back(std::move(trouble));
  }
  if (!guest_runs) return std::exchange(troubles_, {});
  if (troubles_.empty() || Clock::now() - since_ < until_told) return {};
  for (std::string& trouble : troubles_) trouble += "; the interface is cut off until the guest's next start";
  return std::exchange(troubles_, {});
}

}  // namespace pinfold::cli
