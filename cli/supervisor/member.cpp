#include "cli/supervisor/member.hpp"

#include <unistd.h>

#include <utility>

#include "cli/supervisor/changed_devices.hpp"

namespace pinfold::cli {

tl::expected<void, std::string> Member::start_helpers() {
  of_life = options;
  const auto changes = name ? name->noted_devices() : DeviceChanges{};
  wait_for_keepers(changes);
  auto changed = with_changes(options.guest, changes);
  if (!changed) return tl::unexpected(changed.error());
  of_life.guest = std::move(*changed);
  auto opened = Networks::open(of_life.guest, name ? name->id() : static_cast<std::uint32_t>(::getpid()));
  if (!opened) return tl::unexpected(opened.error());
  networks.emplace(std::move(*opened));
  auto served = ImageServers::open(of_life);
  if (!served) return tl::unexpected(served.error());
  images.emplace(std::move(*served));
  helpers.emplace([this] {
    auto troubles = networks->troubles();
    for (HelperTrouble& trouble : images->troubles()) troubles.push_back(std::move(trouble));
    return troubles;
  });
  return {};
}

void Member::end_helpers(EndingServers& ending, bool keeps_name) {
  helpers.reset();
  networks.reset();
  if (!keeps_name) debugger.reset();
  std::optional<ClaimedName> its_name;
  if (name && !keeps_name) {
    its_name.emplace(std::move(*name));
    name.reset();
  }
  if (images) ending.take(std::move(*images), std::move(its_name));
  images.reset();
}

}  // namespace pinfold::cli
