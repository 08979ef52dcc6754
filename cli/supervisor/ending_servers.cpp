#include "cli/supervisor/ending_servers.hpp"

#include <utility>

namespace pinfold::cli {

using Clock = tools::ConfinedTool::Clock;

void EndingServers::take(ImageServers servers, std::optional<ClaimedName> name) {
  servers.ask_to_end();
  all_.push_back({std::move(name), std::move(servers)});
  forget_ended();
}

void EndingServers::forget_ended() {
  all_.remove_if([](Ending& of) {
    const auto deadline = of.servers.deadline();
    return !deadline || *deadline <= Clock::now();
  });
}

int EndingServers::patience() const {
  constexpr int between_looks = 1000;  // milliseconds
  return all_.empty() ? -1 : between_looks;
}

}  // namespace pinfold::cli
