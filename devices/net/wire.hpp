// Where a guest's frames go on the host, and come from.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "devices/net/frame.hpp"

namespace pinfold::devices::net {

/// Is somebody at the other end of a lane?
enum class Peer : std::uint8_t {
  there,
  awaited,  ///< One can come.
  gone,     ///< For ever.
};

/// What can be said of the other end at one moment. Two that are equal stand for the same peer, if there is
/// one.
struct PeerState {
  Peer peer = Peer::there;
  std::uint64_t arrivals = 0;  ///< Peers that have come one after the other.
  bool operator==(const PeerState&) const = default;
};

/// One way to the host: a descriptor that carries frames. It never waits, and what it keeps is bounded. If
/// there is nobody at the other end, frames are dropped, as on a cable that is not plugged in.
///
/// Concurrency: any thread sends; one thread at a time receives.
class Lane {
 public:
  Lane() = default;
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;
  virtual ~Lane() = default;

  /// Is there room for a frame, or for the segments of one?
  [[nodiscard]] virtual bool can_send() = 0;
  /// Takes a frame, or drops it. Its headers are what its offload says (is_consistent()).
  virtual void send(const Frame& frame) = 0;
  /// Passes on to the host what was sent since the last call, as far as the host takes it.
  virtual void flush() = 0;
  /// Did the host not take all that was flushed? Then poll(2) says when it takes more.
  [[nodiscard]] virtual bool waits_to_send() = 0;
  /// The next frame from the host, valid until the next call; nothing if there is none now.
  [[nodiscard]] virtual std::optional<Frame> receive() = 0;
  /// To wait for frames, or for room; -1: there is nothing to wait for any more.
  [[nodiscard]] virtual int descriptor() = 0;
  /// As far as the lane has noticed, which it does when it is used. Any thread asks.
  [[nodiscard]] virtual PeerState peer() = 0;
};

/// What the host's side of a wire makes of frames.
struct WireTakes {
  bool blank_checksums = false;
  bool large_frames = false;  ///< With segments; their checksums are blank.
};

struct Wire {
  std::vector<std::unique_ptr<Lane>> lanes;  ///< At least one.
  WireTakes takes;

  /// The worst of all lanes, and the arrivals at all of them.
  [[nodiscard]] PeerState peer() const {
    PeerState all;
    for (const auto& lane : lanes) {
      const PeerState its = lane->peer();
      all.peer = std::max(all.peer, its.peer);
      all.arrivals += its.arrivals;
    }
    return all;
  }
};

}  // namespace pinfold::devices::net
