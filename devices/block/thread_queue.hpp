// Transfers by threads that make ordinary system calls.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "devices/block/image.hpp"
#include "devices/block/image_file.hpp"
#include "devices/block/io_threads.hpp"
#include "devices/block/transfer_slots.hpp"
#include "devices/wake_fd.hpp"

namespace pinfold::devices::block {

/// A queue for hosts without io_uring. Its threads belong to the image.
class ThreadQueue final : public TransferQueue {
 public:
  /// `file` and `threads` outlive the queue.
  ThreadQueue(ImageFile& file, IoThreads& threads, std::size_t depth, WakeFd wake);
  /// Takes back what wakes the queue's reader, when the queue is gone.
  using GiveBack = std::function<void(WakeFd)>;
  void give_back_to(GiveBack give_back) { give_back_ = std::move(give_back); }
  ~ThreadQueue() override;
  ThreadQueue(const ThreadQueue&) = delete;
  ThreadQueue& operator=(const ThreadQueue&) = delete;

  [[nodiscard]] bool submit(const Transfer& transfer) override;
  void start() override;
  void collect(const std::function<void(const Completion&)>& take) override;
  [[nodiscard]] int descriptor() const override { return wake_.get(); }
  [[nodiscard]] std::size_t on_the_way() const override { return slots_.taken() + failed_.size(); }

 private:
  struct Answer {
    TransferSlots::Number slot;
    int error;
  };

  void work_on(TransferSlots::Number slot);

  ImageFile& file_;
  IoThreads& threads_;
  TransferSlots slots_;
  std::size_t depth_;
  WakeFd wake_;
  GiveBack give_back_;                            ///< Empty: it ends with the queue.
  std::vector<TransferSlots::Number> submitted_;  ///< Not started.
  std::vector<Completion> failed_;                ///< Never started.
  std::mutex mutex_;                              ///< Guards the rest.
  std::condition_variable answered_;
  std::vector<Answer> answers_;
  std::size_t running_ = 0;
};

}  // namespace pinfold::devices::block
