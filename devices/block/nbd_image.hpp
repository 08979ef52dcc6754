// Images behind an NBD server: every format but raw, and images on other machines.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "devices/block/image.hpp"
#include "devices/block/raw_image.hpp"
#include "devices/wake_reserve.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::devices::block {

struct NbdImageOptions {
  std::string name;         ///< For messages.
  std::string export_name;  ///< Empty: the server's default.
  bool read_only = false;
  bool discard = true;       ///< Offer discard, if the server has it.
  bool end_is_told = false;  ///< Somebody else tells the user when the server ends.
  std::chrono::milliseconds connect_patience{30'000};
  /// How long the server may answer nothing at all while it has something to do.
  std::chrono::milliseconds patience{120'000};
  /// Where the wake-ups of its queues come from; null: each is made for it.
  std::shared_ptr<WakeReserve> wakes = nullptr;
  /// Becomes true when nobody wants the image any more: then it is not waited for. Null: never.
  std::shared_ptr<const std::atomic<bool>> given_up = nullptr;
};

/// `sockets` are connected to one server; one or more. Those are used that can be used at once; each becomes
/// a queue. Nothing that the server says is taken without a check. It opens no path but the library's. `tie`
/// is closed after the connections: whoever has the other end of it then ends the server. An error is one
/// line that names the image.
[[nodiscard]] tl::expected<OpenImage, std::string> open_nbd_image(std::vector<vmm::Fd> sockets,
                                                                  const NbdImageOptions& options,
                                                                  vmm::Fd tie = {});

}  // namespace pinfold::devices::block
