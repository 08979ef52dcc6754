// Ways for transfers that exist before the guest runs, for disks that it gets later.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "devices/block/image.hpp"
#include "devices/block/image_file.hpp"
#include "devices/block/io_threads.hpp"
#include "devices/block/raw_image.hpp"
#include "devices/block/restricted_ring.hpp"
#include "devices/wake_fd.hpp"

namespace pinfold::devices::block {

/// A fixed number of queues' rings, which name no file until a queue has one: a sandbox forbids to set up an
/// io_uring while the guest runs. On a host without io_uring: a few threads for all queues together.
///
/// Concurrency: any thread.
class TransferReserve : public std::enable_shared_from_this<TransferReserve> {
 public:
  /// For `count` queues of up to `depth` transfers. An error is one line.
  [[nodiscard]] static tl::expected<std::shared_ptr<TransferReserve>, std::string> make(
      std::size_t count, std::size_t depth, Engine engine = Engine::best);
  /// `file` outlives the queue. An error is one line: all are in use.
  [[nodiscard]] tl::expected<std::unique_ptr<TransferQueue>, std::string> queue_for(ImageFile& file,
                                                                                    std::size_t depth);
  /// Transfers that a queue takes at a time, at most.
  [[nodiscard]] std::size_t depth() const { return depth_; }

 private:
  /// What one queue needs.
  struct Way {
    std::unique_ptr<RestrictedRing> ring;  ///< Null: it uses the threads.
    WakeFd wake;
  };
  explicit TransferReserve(std::size_t depth) : depth_(depth) {}
  [[nodiscard]] tl::expected<void, std::string> fill(std::size_t count, Engine engine);
  [[nodiscard]] std::optional<Way> take();
  void give_back(Way way);

  const std::size_t depth_;
  std::optional<IoThreads> threads_;  ///< None: io_uring.
  std::mutex mutex_;
  std::vector<Way> free_;  ///< Guarded by the mutex.
};

}  // namespace pinfold::devices::block
