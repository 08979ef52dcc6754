// A guest with the devices that it had at the end of its last life.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "cli/config/guest_config.hpp"
#include "cli/hotplug/device_record.hpp"

namespace pinfold::cli {

/// The configuration with what commands attached, and without what they detached. Interfaces keep their
/// numbers. An error is one line. Call it before the program has threads: it forks.
[[nodiscard]] tl::expected<GuestConfig, std::string> with_changes(GuestConfig config,
                                                                  const DeviceChanges& changes);
/// Waits until what was made on the host for attached devices is undone: the next life makes it anew.
void wait_for_keepers(const DeviceChanges& changes);

}  // namespace pinfold::cli
