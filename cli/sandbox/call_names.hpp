// Names of system calls, from the kernel's header of the build. The array is a constant, so a signal handler
// can use it; libseccomp's function for it allocates memory.
#pragma once

namespace pinfold::sandbox {

/// Null for a number that the header does not know.
[[nodiscard]] const char* call_name(long number);

}  // namespace pinfold::sandbox
