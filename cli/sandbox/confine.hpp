// The monitor gives up what it does not need (docs/sandbox.md).
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "sandbox/policy.hpp"

namespace pinfold::sandbox {

/// Why this host can't confine a monitor as `mode` wants, as one line; else nothing. Changes nothing, so that
/// it can be asked before anything is opened.
[[nodiscard]] tl::expected<void, std::string> confinable(Mode mode);

/// Confines this process for good: its user, its privileges, its limits, Landlock, and a filter of system
/// calls. Threads that start later get a narrower filter by their kind (pvmmu/service_thread.hpp). Call it
/// when everything that has a path is open, before anything is parsed that an image's maker wrote, and before
/// the first thread. Says on stderr what the host can't do. An error is one line: the guest must not run.
[[nodiscard]] tl::expected<void, std::string> confine(const Policy& policy);

}  // namespace pinfold::sandbox
