// What a block backend needs of a disk image.
#pragma once

#include <poll.h>
#include <sys/uio.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

namespace pinfold::devices::block {

/// blkif counts in sectors of 512 bytes, whatever the image's own sector size is (io/blkif.h).
inline constexpr std::uint64_t sector_bytes = 512;

/// What a guest is told of an image.
struct Geometry {
  std::uint64_t sectors = 0;                 ///< Of sector_bytes each.
  std::uint32_t logical_sector_bytes = 512;  ///< Requests are whole multiples of it.
  std::uint32_t physical_sector_bytes = 512;
  bool read_only = false;
  bool can_flush = true;
  bool can_discard = false;
  std::uint32_t discard_granularity = 0;  ///< Bytes; 0 without discard.
};

enum class Operation : std::uint8_t { read, write, flush, discard };

/// The most transfers that a queue takes at a time.
inline constexpr std::size_t max_queue_depth = 1024;

/// The most queues of an image.
inline constexpr std::size_t max_queues = 4;

/// One transfer between an image and memory. A flush has no place and no memory, a discard has no memory.
struct Transfer {
  Operation operation = Operation::read;
  std::uint64_t offset = 0;       ///< Bytes from the image's start.
  std::uint64_t bytes = 0;        ///< For read and write: what `memory` has in all. 0 for flush.
  std::span<const iovec> memory;  ///< Both the list and what it names stay until the transfer is done.
  std::uint64_t token = 0;        ///< The caller's, returned with the result.
};

/// A transfer that is done. A transfer is done whole or failed: short ones are continued by the queue.
struct Completion {
  std::uint64_t token = 0;
  int error = 0;  ///< errno; 0: done. After a flush: all writes completed before its submission are on disk.
};

/// A way for one thread to have transfers done. Transfers may be done in any order, except that a flush
/// covers the writes that were completed before it was submitted.
///
/// Concurrency: used by one thread.
class TransferQueue {
 public:
  /// Waits for the transfers that are on their way, because the host reads or writes their memory. They are
  /// not collected.
  virtual ~TransferQueue() = default;
  /// False: as many transfers as the queue has room for are on their way; try again after a completion.
  [[nodiscard]] virtual bool submit(const Transfer& transfer) = 0;
  /// Starts what was submitted since the last call. So a batch costs one system call.
  virtual void start() = 0;
  /// Hands over what is done, without waiting. `take` may submit.
  virtual void collect(const std::function<void(const Completion&)>& take) = 0;
  /// A descriptor that poll(2) finds readable while there is something to collect.
  [[nodiscard]] virtual int descriptor() const = 0;
  /// What poll(2) is to wait for: that, unless a queue needs more.
  virtual void add_descriptors(std::vector<pollfd>& all) const { all.push_back({descriptor(), POLLIN, 0}); }
  /// When collect() is to be called at the latest, if poll(2) finds nothing; nullopt: then never.
  [[nodiscard]] virtual std::optional<std::chrono::nanoseconds> patience() const { return std::nullopt; }
  /// Transfers that were submitted and not collected.
  [[nodiscard]] virtual std::size_t on_the_way() const = 0;
};

/// An open image. It outlives its queues.
///
/// Concurrency: any thread.
class Image {
 public:
  virtual ~Image() = default;
  /// The sectors may become more while the image is open; nothing else of it changes.
  [[nodiscard]] virtual Geometry geometry() const = 0;
  /// Makes the image `bytes` long, which must not be shorter than it is; nullopt: somebody else did, and this
  /// finds out how long it is now. Opens no path, and does not wait for transfers. Returns the sectors that
  /// it has now. An error is one line without the image's name, and nothing has changed.
  [[nodiscard]] virtual tl::expected<std::uint64_t, std::string> grow(std::optional<std::uint64_t>) {
    return tl::unexpected(
        std::string("its size can't change while it is attached: only that of a raw image can"));
  }
  /// How many queues can be made.
  [[nodiscard]] virtual std::size_t most_queues() const { return max_queues; }
  /// A queue for up to `depth` transfers at a time (1 to max_queue_depth); an error, in one line, if the host
  /// has no room for it. Queues are made before the guest's first instruction: a sandbox forbids to set up an
  /// io_uring afterwards.
  [[nodiscard]] virtual tl::expected<std::unique_ptr<TransferQueue>, std::string> make_queue(
      std::size_t depth) = 0;
};

}  // namespace pinfold::devices::block
