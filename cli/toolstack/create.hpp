// `pinfold create`: a guest in the background.
#pragma once

#include <string>

#include "cli/messages/message_writer.hpp"
#include "cli/run/run_options.hpp"

namespace pinfold::cli {

struct CreateOptions {
  bool json = false;    ///< Print the guest's name and the path of its log.
  bool attach = false;  ///< When the guest runs, attach to its console, until the user detaches.
  std::string with{};   ///< A running guest, whose machine the guest joins; empty: it gets one of its own.
  MessageOptions messages{};  ///< The form of its messages.
};

/// Starts a supervisor in a session of its own, and returns when the guest runs: the exit code. If it does
/// not come to that, the guest's messages go to stderr. Afterwards they go to its log: NAME.log in
/// $XDG_STATE_HOME/pinfold, else ~/.local/state/pinfold.
int create(const RunOptions& given, CreateOptions how);

}  // namespace pinfold::cli
