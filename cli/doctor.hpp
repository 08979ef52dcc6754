// `pinfold doctor`: can this host run guests, and how will it.
#pragma once

#include <iosfwd>

namespace pinfold::cli {

/// Exit code where no usable KVM was found.
inline constexpr int exit_no_kvm = 4;

/// Probes the host and prints each finding with what pinfold does about it, then a verdict; with `json`, one
/// object instead. Returns 0, or exit_no_kvm, with one line that says what to do; before it the findings if
/// there are any. `device`: KVM's device file.
int doctor(bool json, std::ostream& out, const char* device = "/dev/kvm");

}  // namespace pinfold::cli
