// A lane that is a stream socket: to passt, to a QEMU, or to another guest.
#pragma once

#include <mutex>
#include <vector>

#include "devices/net/frame_stream.hpp"
#include "devices/net/wire.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::devices::net {

/// Frames wait here while the peer reads slowly: at most those of `most_waiting` bytes and one more frame or
/// its segments.
///
/// Concurrency: as a Lane's.
class StreamLane final : public Lane {
 public:
  static constexpr std::size_t most_waiting = 64 * 1024;

  /// A connected socket. When its peer closes it, that is the end.
  [[nodiscard]] static std::unique_ptr<StreamLane> connected(vmm::Fd socket);
  /// A listening socket, which does not wait (O_NONBLOCK). One peer after the other is served.
  [[nodiscard]] static std::unique_ptr<StreamLane> listening(vmm::Fd listener);

  [[nodiscard]] bool can_send() override;
  void send(const Frame& frame) override;
  void flush() override;
  [[nodiscard]] bool waits_to_send() override;
  [[nodiscard]] std::optional<Frame> receive() override;
  [[nodiscard]] int descriptor() override;
  [[nodiscard]] PeerState peer() override;

 private:
  StreamLane(vmm::Fd socket, vmm::Fd listener) : socket_(std::move(socket)), listener_(std::move(listener)) {}
  void accept();
  void hang_up();
  void write_out();
  [[nodiscard]] bool read_more();

  std::mutex mutex_;  ///< Guards the sockets, their peers, and what is to be sent.
  vmm::Fd socket_, listener_;
  std::uint64_t arrivals_ = 0;  ///< Peers that the listener has accepted.
  std::vector<std::byte> out_;
  std::size_t sent_ = 0;  ///< Of out_.
  FrameStream in_;        ///< The receiving thread's.
};

}  // namespace pinfold::devices::net
