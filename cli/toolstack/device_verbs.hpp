// The commands that attach, detach and list devices of running guests, with xl's names and arguments.
#pragma once

#include "cli/inspect/inspect.hpp"

namespace pinfold::cli {

/// block-attach, block-detach, block-list, cd-insert, cd-eject, network-attach, network-detach, network-list.
/// Parsing one of them sets `action`, which outlives the parsing.
void add_device_verbs(CLI::App& app, Action& action);

}  // namespace pinfold::cli
