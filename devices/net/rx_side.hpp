// Frames that a guest receives (xen/io/netif.h).
#pragma once

#include <cstdint>
#include <span>

#include "devices/back_ring.hpp"
#include "devices/net/frame.hpp"

namespace pinfold::devices::net {

/// What a frontend can receive, as it says in its nodes.
struct RxFeatures {
  bool scatter_gather = false;
  bool blank_checksum_ipv4 = true;
  bool blank_checksum_ipv6 = false;
  bool segments_tcpv4 = false;
  bool segments_tcpv6 = false;
};

/// A receive ring. The guest's frames are written only as grants in use for writing; a grant that can't be
/// used makes the frame's part an error.
///
/// Not thread-safe.
class RxSide {
 public:
  /// `grants` outlives this.
  RxSide(GrantedPage ring, GrantAccess& grants);

  /// How many requests a frame takes.
  [[nodiscard]] static std::uint32_t slots_for(const Frame& frame);
  [[nodiscard]] bool has_room(std::uint32_t slots) { return ring_.waiting() >= slots; }
  /// Gives a frame, for which there is room, to the guest. False: a part of it could not be written.
  bool put(const Frame& frame);
  [[nodiscard]] BackRing& ring() { return ring_; }
  /// Asks the frontend for an event when there is room. True: there is.
  [[nodiscard]] bool await(std::uint32_t slots) { return ring_.await(slots); }
  [[nodiscard]] const char* fault() const {
    return ring_.is_broken() ? "the frontend's receive ring claims more requests than it holds" : nullptr;
  }

 private:
  bool put_part(std::span<const std::byte> part, unsigned flags);
  void put_extra(const Offload& offload);

  BackRing ring_;
  GrantAccess& grants_;
};

}  // namespace pinfold::devices::net
