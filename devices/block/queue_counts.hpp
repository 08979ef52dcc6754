// What a queue of a disk did so far.
#pragma once

#include <atomic>
#include <cstdint>

#include "devices/block/image.hpp"

namespace pinfold::devices::block {

/// For statistics. Any thread may read it while the queue's thread counts.
struct QueueCounts {
  using Count = std::atomic<std::uint64_t>;

  Count requests = 0;
  Count failed = 0;  ///< Of those, responses that were not BLKIF_RSP_OKAY.
  Count flushes = 0, discards = 0;
  Count bytes_read = 0, bytes_written = 0;  ///< Of requests that did not fail.
  Count events_sent = 0;                    ///< Those that the frontend wanted.
  Count events_received = 0;

  static void add(Count& to, std::uint64_t amount = 1) { to.fetch_add(amount, std::memory_order_relaxed); }
  /// An operation of `bytes` bytes was done.
  void add_done(Operation operation, std::uint64_t bytes) {
    switch (operation) {
      case Operation::read: return add(bytes_read, bytes);
      case Operation::write: return add(bytes_written, bytes);
      case Operation::flush: return add(flushes);
      case Operation::discard: return add(discards);
    }
  }
};

}  // namespace pinfold::devices::block
