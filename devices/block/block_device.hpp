// What the host says about a block device.
#pragma once

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

/// Its length alone. nullopt, with errno: it is no block device, or does not answer.
[[nodiscard]] std::optional<std::uint64_t> device_bytes(int fd);

}  // namespace pinfold::devices::block
