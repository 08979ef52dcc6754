// The model's parts as compact bytes for the page's script (page/data.js reads them).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "report/model.hpp"

namespace pinfold::report {

/// All varints but the looks. How many runs, how many changes; of each run: frames since the end of the one
/// before, frames, changes, and of each of these: events since the one before (at first since 0), the look, a
/// byte. If the look has the bit 64, another byte follows: its domain's number.
[[nodiscard]] std::vector<std::byte> pack(const std::vector<Run>& runs);
/// How many; of each: its parent − the last one's, its child − the last one's (signed), slot, begin, length
/// in events.
[[nodiscard]] std::vector<std::byte> pack(const std::vector<Link>& links);
/// How many; of each: its pair, writable, slot, the grant's reference, frame, table, events since the begin
/// of the one before, length in events.
[[nodiscard]] std::vector<std::byte> pack(const std::vector<Loan>& loans);
/// How many; of each: events, then ticks, since the one before.
[[nodiscard]] std::vector<std::byte> pack(const std::vector<TimePoint>& times);

/// RFC 4648, section 4.
[[nodiscard]] std::string base64(std::span<const std::byte> bytes);

}  // namespace pinfold::report
