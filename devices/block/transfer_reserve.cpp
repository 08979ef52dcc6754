#include "devices/block/transfer_reserve.hpp"

#include <cstring>
#include <utility>

#include "devices/block/thread_queue.hpp"
#include "devices/block/uring_queue.hpp"

namespace pinfold::devices::block {

tl::expected<std::shared_ptr<TransferReserve>, std::string> TransferReserve::make(std::size_t count,
                                                                                  std::size_t depth,
                                                                                  Engine engine) {
  std::shared_ptr<TransferReserve> reserve(new TransferReserve(depth));
  if (auto filled = reserve->fill(count, engine); !filled) return tl::unexpected(filled.error());
  return reserve;
}

tl::expected<void, std::string> TransferReserve::fill(std::size_t count, Engine engine) {
  for (std::size_t n = 0; n < count; ++n) {
    auto wake = WakeFd::make();
    if (!wake) return tl::unexpected(wake.error());
    Way way{nullptr, std::move(*wake)};
    if (engine != Engine::threads) {
      auto ring = RestrictedRing::make_without_file(static_cast<unsigned>(depth_), way.wake.get());
      if (ring) {
        way.ring = std::move(*ring);
      } else if (engine == Engine::io_uring || n != 0) {
        return tl::unexpected(std::string("no io_uring: ") + std::strerror(ring.error()));
      } else {
        engine = Engine::threads;
      }
    }
    free_.push_back(std::move(way));
  }
  if (engine == Engine::threads) threads_.emplace(RawImageOptions{}.threads);
  return {};
}

std::optional<TransferReserve::Way> TransferReserve::take() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) return std::nullopt;
  Way way = std::move(free_.back());
  free_.pop_back();
  return way;
}

void TransferReserve::give_back(Way way) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(way));
}

tl::expected<std::unique_ptr<TransferQueue>, std::string> TransferReserve::queue_for(ImageFile& file,
                                                                                     std::size_t depth) {
  if (depth == 0 || depth > depth_) return tl::unexpected(std::string("no queue is so deep"));
  auto way = take();
  if (!way) return tl::unexpected(std::string("no way for transfers is free"));
  if (!way->ring) {
    auto queue = std::make_unique<ThreadQueue>(file, *threads_, depth, std::move(way->wake));
    queue->give_back_to([self = shared_from_this()](WakeFd wake) {
      self->give_back({nullptr, std::move(wake)});
    });
    return queue;
  }
  return UringQueue::in_ring(file, depth, std::move(way->ring), std::move(way->wake),
                             [self = shared_from_this()](std::unique_ptr<RestrictedRing> ring, WakeFd wake) {
                               self->give_back({std::move(ring), std::move(wake)});
                             })
      .map_error(
          [](int error) { return std::string("io_uring refuses the image: ") + std::strerror(error); });
}

}  // namespace pinfold::devices::block
