// Confines a process that has read its last file and only computes.
#pragma once

namespace pinfold::cli::bootloader {

/// For the calling process, for good: its only descriptor is `to`, and all that it can still do is to write
/// to it, to get and give back memory, and to end. Any other system call ends it. False: the host can't do
/// that, and the process must not go on.
[[nodiscard]] bool confine_reader(int to);

}  // namespace pinfold::cli::bootloader
