// A configuration as JSON: what `pinfold run -n` prints. docs/xl-cfg.md describes it.
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "cli/bootloader/bootloader.hpp"
#include "cli/config/load_config.hpp"

namespace pinfold::cli {

/// One JSON object of several lines. It has the same members for every guest, in the same order; a value that
/// is not given is null, or what it is by default. Bytes that are not UTF-8 are replaced. `boot` is what the
/// boot loader found, or why it found nothing; nullopt: there is no boot loader.
using BootAnswer = std::optional<tl::expected<bootloader::FoundBoot, std::string>>;
[[nodiscard]] std::string config_json(const LoadedConfig& config, const BootAnswer& boot);

}  // namespace pinfold::cli
