// What the keys of an xl.cfg mean.
#pragma once

#include "cli/config/guest_config.hpp"
#include "cli/config/xl_reader.hpp"

namespace pinfold::cli {

/// The guest that the file describes, without its disks and interfaces. Errors go to the reader.
[[nodiscard]] GuestConfig guest_of(XlReader& reader);

/// Says what has no effect: keys that are unknown (an error if `strict`), ignored or given twice; and refuses
/// those that ask for what there is not.
void judge_keys(XlReader& reader, bool strict);

}  // namespace pinfold::cli
