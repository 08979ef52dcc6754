// Frames that a guest transmits (xen/io/netif.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "devices/back_ring.hpp"
#include "devices/net/frame.hpp"

namespace pinfold::devices::net {

/// A transmit ring. A frame is copied out of the guest's memory, and its requests are answered at once. One
/// that is not as it must be is answered by errors. What leaves unclear where the next frame begins breaks
/// the ring: a chain of requests that the ring does not contain whole or that is too long, an extra info of
/// unknown type.
///
/// Not thread-safe.
class TxSide {
 public:
  /// Linux's backend, too, accepts a few more than XEN_NETIF_NR_SLOTS_MIN.
  static constexpr std::uint32_t most_slots = 20;
  static constexpr std::uint32_t most_extras = 4;

  /// `grants` outlives this.
  TxSide(GrantedPage ring, GrantAccess& grants);

  /// The next frame that is as it must be, in `buffer` (at least 65,535 bytes); nothing if there is none.
  /// Looks at not more than a ring of requests.
  [[nodiscard]] std::optional<Frame> next(std::span<std::byte> buffer);
  [[nodiscard]] BackRing& ring() { return ring_; }
  /// Asks the frontend for an event at its next request. True: there is one already.
  [[nodiscard]] bool await() { return ring_.await(); }
  /// Why the ring is broken; null: it is not.
  [[nodiscard]] const char* fault() const;
  [[nodiscard]] std::uint64_t refused() const { return refused_; }

 private:
  /// One frame's requests, copied.
  struct Chain {
    std::array<netif_tx_request, most_slots> slots;
    std::uint32_t count = 0;
    std::uint32_t extras = 0;
    std::optional<netif_extra_info> gso;
    bool has_unknown = false;  ///< An extra info that was not offered.
  };
  [[nodiscard]] std::optional<Chain> take_chain();
  [[nodiscard]] bool take_extras(Chain& chain);
  [[nodiscard]] std::optional<Frame> frame_of(const Chain& chain, std::span<std::byte> buffer);
  [[nodiscard]] bool copy_data(const Chain& chain, std::span<std::byte> to);
  void answer(const Chain& chain, std::int16_t status);
  bool break_off(const char* why);

  BackRing ring_;
  GrantAccess& grants_;
  const char* fault_ = nullptr;
  std::uint64_t refused_ = 0;
};

}  // namespace pinfold::devices::net
