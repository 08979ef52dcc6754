// What a transfer must be before the host sees it.
#pragma once

#include "devices/block/image.hpp"

namespace pinfold::devices::block {

/// 0, or why a transfer can't be done on an image of this geometry: EINVAL (past the end, not whole sectors,
/// memory of another size), EROFS (changes a read-only image), EOPNOTSUPP (a discard that is not offered).
[[nodiscard]] int error_in(const Transfer& transfer, const Geometry& geometry);

}  // namespace pinfold::devices::block
