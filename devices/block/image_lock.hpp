// Locks on an image, which keep programs from changing it at the same time.
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace pinfold::devices::block {

/// How an image's locks are tried.
enum class LockResult : std::uint8_t {
  locked,
  held_by_another,
  not_supported,  ///< This file system has no locks.
};

/// Takes the locks that QEMU's raw driver takes and checks, so that each program sees the other: with a
/// read-only image, nobody else may write; with a writable one, nobody else may read as a guest or write.
/// They are locks of the open file description (F_OFD_SETLK, fcntl(2)): they go with a descriptor that is
/// passed on, and end with its last copy.
///
/// Waits up to `patience` for locks that another program holds.
[[nodiscard]] LockResult lock_image(int fd, bool read_only, std::chrono::milliseconds patience);

void unlock_image(int fd);

/// A process that has a lock on the file, as "NAME, process 123"; nullopt if it can't be found: it belongs to
/// another user or another container, or runs on another machine. Reads /proc.
[[nodiscard]] std::optional<std::string> lock_holder(int fd);

}  // namespace pinfold::devices::block
