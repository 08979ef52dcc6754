// Filters of seccomp(2), compiled from the table of calls by libseccomp.
#pragma once

#include <linux/filter.h>

#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "sandbox/call_rules.hpp"
#include "sandbox/policy.hpp"

namespace pinfold::sandbox {

/// In classic BPF, as the kernel takes it.
using Program = std::vector<sock_filter>;

/// Allows what the table allows to any of `kinds`. Any other call raises SIGSYS, and one of another ABI ends
/// the process. `mode` is on or log. Call it in the process that will use it, since the program has its
/// process ID. An error is one line.
[[nodiscard]] tl::expected<Program, std::string> compile(Kinds kinds, Mode mode);

/// For the calling thread, and those that it starts later. `all_threads`: also for those that exist. 0, or
/// errno.
[[nodiscard]] int install(const Program& program, bool all_threads = false);

}  // namespace pinfold::sandbox
