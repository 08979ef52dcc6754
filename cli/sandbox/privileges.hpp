// What a process may do beyond what any may.
#pragma once

#include "sandbox/policy.hpp"

namespace pinfold::sandbox {

/// This process becomes `user`, without further groups. The kernel then still ends it with its parent, if it
/// did so before. 0, or errno.
[[nodiscard]] int become_user(const User& user);

/// No program that is executed gets more rights, and no capability is left, nor can be had. 0, or errno.
[[nodiscard]] int drop_privileges();

/// Closes every descriptor of this process but one.
[[nodiscard]] bool close_all_but(int kept);

}  // namespace pinfold::sandbox
