// A block queue over a ring that a guest granted, and the guest's frames behind it.
#pragma once

#include <optional>

#include "block_fakes.hpp"
#include "devices/block/request_queue.hpp"
#include "granting_guest.hpp"

namespace pinfold::devices::block {

struct QueueFixture {
  static constexpr std::uint32_t ring_ref = 8, ring_frame = 1;

  explicit QueueFixture(std::uint64_t sectors) : image(sectors) {
    guest.grant(ring_ref, ring_frame);
    transfers = std::move(*image.make_queue(RequestRing::size));
  }
  /// Begins to use the ring, as for a frontend that connects.
  void connect() {
    queue.emplace(std::move(*access.use(GrantRef(ring_ref), GrantUse::write)), access, *transfers, image,
                  counts);
  }

  GrantingGuest guest;
  GrantAccess access = guest.access();
  FakeImage image;
  std::unique_ptr<TransferQueue> transfers;
  Pacing::Clock::time_point now{};
  QueueCounts counts;
  std::optional<RequestQueue> queue;
};

}  // namespace pinfold::devices::block
