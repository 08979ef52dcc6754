// The guest's names for disks, and the numbers by which a frontend knows them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace pinfold::cli {

/// The number of a virtual block device, by the rules of xen-vbd-interface(7): "xvda" is 51712, "xvda1"
/// 51713, "sda" 2048, "hdc" 5632, "d536p37" a number of the extended form; a number (decimal, 0x or with a
/// leading 0) is itself. Nothing for any other name, for 0, and for disks and partitions that the form has no
/// room for.
[[nodiscard]] std::optional<std::uint32_t> vdev_number(std::string_view name);

}  // namespace pinfold::cli
