// What pinfold's exit codes mean; documented in README.md.
#pragma once

namespace pinfold::cli {

enum ExitCode : int {
  exit_powered_off = 0,
  exit_differs = 1,  ///< replay: a decision is not the one that was recorded.
  exit_usage = 2,
  exit_bad_image = 3,
  exit_no_usable_kvm = 4,
  exit_crashed = 5,
  exit_isolation_fault = 6,
  exit_monitor_failed = 7,  ///< The monitor was killed, or did not end as monitors do.
};

}  // namespace pinfold::cli
