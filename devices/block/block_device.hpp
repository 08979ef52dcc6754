// What the host says about a block device.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>

namespace pinfold::devices::block {

struct BlockDevice {
  std::uint64_t bytes = 0;
  std::uint32_t logical_sector_bytes = 512;
  std::uint32_t physical_sector_bytes = 512;
  bool can_discard = false;
};

/// nullopt, with errno: the device does not answer. Opens no path.
[[nodiscard]] std::optional<BlockDevice> ask_block_device(int fd);

/// fstat(2) by a system call of that name alone: the C library's may be one that takes a path, too, which a
/// monitor must not make. False, with errno.
[[nodiscard]] bool ask_kind(int fd, struct stat& is);

/// The bytes of a regular file or a block device of this kind. nullopt, with errno: the host does not say.
[[nodiscard]] std::optional<std::uint64_t> bytes_of(int fd, const struct stat& is);

/// Its length alone. nullopt, with errno: it is no block device, or does not answer.
[[nodiscard]] std::optional<std::uint64_t> device_bytes(int fd);

}  // namespace pinfold::devices::block
