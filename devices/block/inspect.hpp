// What an open image is, and whether a guest's disk can be made of it.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "devices/block/image.hpp"
#include "devices/block/raw_image.hpp"
#include "devices/block/transfer_steps.hpp"

namespace pinfold::devices::block {

struct Inspected {
  Geometry geometry;
  MemoryAlignment alignment;
  std::vector<std::string> notices;
};

/// Asks the host about an image by its descriptor, and sets the descriptor's flags: O_DIRECT if `options`
/// want it and it serves, no O_APPEND, no O_NONBLOCK. An error is one line.
[[nodiscard]] tl::expected<Inspected, std::string> inspect(int fd, const std::string& name,
                                                           const RawImageOptions& options);

}  // namespace pinfold::devices::block
