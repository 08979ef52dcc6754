// Landlock (landlock(7)): what the process may do with files, networks and other processes.
#pragma once

namespace pinfold::sandbox {

/// The version of the kernel's interface, from 1 on; 0 or less: there is none, and it is -errno.
[[nodiscard]] int landlock_version();

/// From here on this thread, and those that it starts, open no file by a path, change no directory, execute
/// nothing and connect to nothing new, as far as the kernel's version can forbid it. Open descriptors keep
/// their rights. It needs no_new_privs. 0, or errno.
[[nodiscard]] int forbid_paths(int version);

}  // namespace pinfold::sandbox
