// Transfers by io_uring.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "devices/block/image.hpp"
#include "devices/block/image_file.hpp"
#include "devices/block/restricted_ring.hpp"
#include "devices/block/transfer_slots.hpp"
#include "devices/wake_fd.hpp"

namespace pinfold::devices::block {

/// A queue that asks the kernel for many steps in one system call. It starts no threads of its own.
class UringQueue final : public TransferQueue {
 public:
  /// What takes a ring back, and what wakes its reader, when the queue is gone.
  using GiveBack = std::function<void(std::unique_ptr<RestrictedRing>, WakeFd)>;

  /// The error is an errno. `file` outlives the queue.
  [[nodiscard]] static tl::expected<std::unique_ptr<TransferQueue>, int> make(ImageFile& file,
                                                                              std::size_t depth);
  /// A queue in a ring that is there already, and was made without a file. The error is an errno; `give_back`
  /// is called then, too.
  [[nodiscard]] static tl::expected<std::unique_ptr<TransferQueue>, int> in_ring(
      ImageFile& file, std::size_t depth, std::unique_ptr<RestrictedRing> ring, WakeFd wake,
      GiveBack give_back);
  ~UringQueue() override;
  UringQueue(const UringQueue&) = delete;
  UringQueue& operator=(const UringQueue&) = delete;

  [[nodiscard]] bool submit(const Transfer& transfer) override;
  void start() override;
  void collect(const std::function<void(const Completion&)>& take) override;
  [[nodiscard]] int descriptor() const override { return wake_.get(); }
  [[nodiscard]] std::size_t on_the_way() const override { return slots_.taken() + done_.size(); }

 private:
  UringQueue(ImageFile& file, std::size_t depth, WakeFd wake);
  void push_step(TransferSlots::Number slot);
  void on_answer(TransferSlots::Number slot, int result);

  ImageFile& file_;
  TransferSlots slots_;
  std::size_t depth_;
  WakeFd wake_;
  std::unique_ptr<RestrictedRing> ring_;
  GiveBack give_back_;       ///< Empty: the ring ends with the queue.
  std::size_t in_ring_ = 0;  ///< Steps that were pushed and not answered. The kernel may not have seen all.
  std::vector<Completion> done_;  ///< Not collected.
};

}  // namespace pinfold::devices::block
