// A lane that is a queue of a tap device (Linux: Documentation/networking/tuntap.rst), with a
// virtio_net_hdr before each frame.
#pragma once

#include <atomic>
#include <vector>

#include "devices/net/wire.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::devices::net {

/// A frame that the device does not take at once is dropped.
///
/// Concurrency: as a Lane's.
class TapLane final : public Lane {
 public:
  /// `queue` was opened with O_NONBLOCK, IFF_TAP, IFF_NO_PI and IFF_VNET_HDR; the header has its usual 10
  /// bytes in the host's byte order.
  explicit TapLane(vmm::Fd queue) : queue_(std::move(queue)), buffer_(most_frame_bytes) {}

  [[nodiscard]] bool can_send() override { return true; }
  void send(const Frame& frame) override;
  void flush() override {}
  [[nodiscard]] bool waits_to_send() override { return false; }
  [[nodiscard]] std::optional<Frame> receive() override;
  [[nodiscard]] int descriptor() override { return gone_ ? -1 : queue_.get(); }
  [[nodiscard]] PeerState peer() override { return {gone_ ? Peer::gone : Peer::there}; }

 private:
  vmm::Fd queue_;
  std::vector<std::byte> buffer_;   ///< The receiving thread's.
  std::atomic<bool> gone_ = false;  ///< The receiving thread sets it: the device was removed.
};

}  // namespace pinfold::devices::net
