// What a CD-ROM drive without a medium has in place of an image.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "devices/block/image.hpp"
#include "devices/block/transfer_check.hpp"
#include "devices/wake_reserve.hpp"

namespace pinfold::devices::block {

/// A disk of no sectors, for reading. The guest's frontend connects to it: one that found a drive which does
/// not connect would have Linux wait for it for minutes, when it loads its driver.
class EmptyImage final : public Image {
 public:
  /// Where what wakes its queue comes from; null: it is made for it.
  explicit EmptyImage(std::shared_ptr<WakeReserve> wakes = nullptr) : wakes_(std::move(wakes)) {}

  [[nodiscard]] Geometry geometry() const override {
    Geometry none;
    none.read_only = true;
    none.can_flush = false;
    return none;
  }
  [[nodiscard]] std::size_t most_queues() const override { return 1; }
  [[nodiscard]] tl::expected<std::unique_ptr<TransferQueue>, std::string> make_queue(std::size_t) override {
    auto wake = wake_from(wakes_.get());
    if (!wake) return tl::unexpected(wake.error());
    return std::make_unique<Queue>(std::move(*wake));
  }

 private:
  class Queue final : public TransferQueue {
   public:
    explicit Queue(LentWake wake) : wake_(std::move(wake.wake)), give_back_(std::move(wake.give_back)) {}
    ~Queue() override {
      if (give_back_) give_back_(std::move(wake_));
    }
    Queue(const Queue&) = delete;
    Queue& operator=(const Queue&) = delete;
    [[nodiscard]] bool submit(const Transfer& transfer) override {
      if (done_.size() == max_queue_depth) return false;
      done_.push_back({transfer.token, error_in(transfer, EmptyImage().geometry())});
      wake_.raise();
      return true;
    }
    void start() override {}
    void collect(const std::function<void(const Completion&)>& take) override {
      wake_.clear();
      for (const Completion& completion : std::exchange(done_, {})) take(completion);
    }
    [[nodiscard]] int descriptor() const override { return wake_.get(); }
    [[nodiscard]] std::size_t on_the_way() const override { return done_.size(); }

   private:
    WakeFd wake_;
    std::function<void(WakeFd)> give_back_;
    std::vector<Completion> done_;
  };

  std::shared_ptr<WakeReserve> wakes_;
};

}  // namespace pinfold::devices::block
