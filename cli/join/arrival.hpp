// A guest that joins a machine, as its monitor gets it.
#pragma once

#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "cli/run/inputs.hpp"
#include "cli/run/run.hpp"
#include "cli/run/run_options.hpp"

namespace pinfold::cli::join {

/// What send_guest() has sent, checked: nothing here can be other than what the first life of a guest may
/// have. Opens no path.
struct Arrival {
  RunOptions options;
  OpenInputs open;
  LifeLinks links;  ///< The socket over which it came is the link to its supervisor.
};

/// An error is one line. Nothing is waited for.
[[nodiscard]] tl::expected<Arrival, std::string> receive_guest(vmm::Fd socket);

}  // namespace pinfold::cli::join
