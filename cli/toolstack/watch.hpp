// `pinfold list --watch`: what guests do, again and again.
#pragma once

#include <functional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/toolstack/asked.hpp"

namespace pinfold::cli {

struct WatchOptions {
  double seconds = 2;       ///< Between two tables.
  std::uint64_t count = 0;  ///< Tables; 0: without end.
};

/// Prints a table of what guests did between two calls of `ask`, on a terminal in place of the last one,
/// until `count` tables are printed, `q` is typed or a signal asks for the end. The answers are looked at in
/// a confined child process. The exit code.
[[nodiscard]] int watch_guests(const std::function<tl::expected<std::vector<Asked>, std::string>()>& ask,
                               const WatchOptions& options);

/// The table: of each guest its state, processor time in per cent of one processor, memory, exits, and bytes
/// of its disks and interfaces; those that use most processor time come first. `before`, `now`: arrays of
/// answers to "status", each with its "id", `seconds` apart. A guest that is new has no rates.
[[nodiscard]] std::string watch_text(const Json& before, const Json& now, double seconds);

}  // namespace pinfold::cli
