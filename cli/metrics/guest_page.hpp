// What a monitor said of its guest, as metrics.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/metrics/page.hpp"
#include "cli/toolstack/asked.hpp"

namespace pinfold::cli::metrics {

/// The metrics in an answer to the command `metrics`. A guest can have taken over its monitor, so numbers are
/// numbers, and texts are words that this program knows, or names of devices; the guest's own name is not the
/// answer's. What the answer lacks is left out, and so are members that this program does not know, because
/// the monitor may be of another version. An error: a member is not of its kind. Nothing of the answer counts
/// then.
[[nodiscard]] tl::expected<Page, std::string> page_of(const RunningGuest& guest, const Json& answer);

/// The same of several guests, from the bytes of their answers. A guest whose answer can't be used has
/// pinfold_up 0, and no other metrics. If the samples of all guests have more than `most_bytes`, so has each
/// guest with more than its share of them.
[[nodiscard]] Page page_of(const std::vector<Asked>& guests, std::size_t most_bytes = std::size_t{8} << 20);

}  // namespace pinfold::cli::metrics
