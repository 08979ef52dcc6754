// A guest, as its supervisor knows it.
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "cli/gdb/listener.hpp"
#include "cli/images/image_servers.hpp"
#include "cli/networks/networks.hpp"
#include "cli/run/run_options.hpp"
#include "cli/supervisor/claimed_name.hpp"
#include "cli/supervisor/ending_servers.hpp"

namespace pinfold::cli {

/// One guest of the machine.
struct Member {
  RunOptions options;
  RunOptions of_life = {};            ///< With the devices that commands attached and detached.
  std::optional<ClaimedName> name{};  ///< None: commands don't find the guest.
  std::optional<Networks> networks{};
  std::optional<ImageServers> images{};
  std::optional<HelperWatch> helpers{};     ///< Of both.
  std::optional<gdb::Listener> debugger{};  ///< Where GDB finds the guest, in each life.
  bool preserved = false;                   ///< In a machine with others.
  bool gone = false;                        ///< It has ended for good.

  /// Starts what serves the guest. An error is one line.
  [[nodiscard]] tl::expected<void, std::string> start_helpers();
  /// Servers of images go on, into `ending`, until all that the guest wrote is in its images; so does the
  /// name, unless it is kept.
  void end_helpers(EndingServers& ending, bool keeps_name);
};

}  // namespace pinfold::cli
