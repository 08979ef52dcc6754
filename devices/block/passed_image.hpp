// An image that a client opened for a guest that runs.
#pragma once

#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "devices/block/image.hpp"
#include "devices/block/inspect.hpp"
#include "devices/block/transfer_reserve.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::devices::block {

/// What the client found out by inspect(). Nothing here relies on it: a client that says something wrong
/// about its image gets errors of the host's for its requests.
struct PassedImage {
  vmm::Fd fd;
  std::string name;  ///< For messages.
  Geometry geometry;
  MemoryAlignment alignment;
  vmm::Fd tie = {};  ///< Closed with the image: whoever has the other end of it cleans up then.
};

/// Checks what the descriptor is and that the geometry can be that of its file, and locks the image, if the
/// client has not. An error is one line. Makes no thread and no ring: the queues are the reserve's.
[[nodiscard]] tl::expected<std::unique_ptr<Image>, std::string> take_over_image(
    PassedImage passed, std::shared_ptr<TransferReserve> reserve);

}  // namespace pinfold::devices::block
