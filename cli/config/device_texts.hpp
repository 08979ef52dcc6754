// Disks and interfaces that a command names, in the syntax of a configuration's.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "cli/config/disk_config.hpp"
#include "cli/config/remark.hpp"
#include "cli/config/vif_config.hpp"

namespace pinfold::cli {

/// A device, and warnings and notices about it.
template <class Config>
struct ReadDevice {
  Config config;
  Remarks remarks;
};

/// The disk of a text like those of `disk` in xl.cfg(5), read by the same parser. Errors come with all that
/// there is to say. Call it before the program has threads: it forks.
[[nodiscard]] tl::expected<ReadDevice<DiskConfig>, Remarks> read_disk(const std::string& text);
/// The same for an interface, as in `vif`.
[[nodiscard]] tl::expected<ReadDevice<VifConfig>, Remarks> read_vif(const std::string& text);

}  // namespace pinfold::cli
