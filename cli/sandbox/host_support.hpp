// What this host offers to confine a monitor with.
#pragma once

#include <string>

namespace pinfold::sandbox {

struct HostSupport {
  std::string no_seccomp;    ///< Why filters of system calls can't be used; empty: they can.
  int landlock_version = 0;  ///< 0: there is none.
  std::string no_landlock;   ///< Why.
};

/// Changes nothing.
[[nodiscard]] HostSupport host_support();

}  // namespace pinfold::sandbox
