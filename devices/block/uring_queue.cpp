#include "devices/block/uring_queue.hpp"

#include <fcntl.h>
#include <linux/falloc.h>

#include <cerrno>

#include "devices/block/transfer_check.hpp"

namespace pinfold::devices::block {
namespace {

// Punches a hole. Offsets are off_t or __u64, by liburing's release.
template <typename Offset>
void discard(io_uring_sqe* request, const Step& step,
             void (*prepare_fallocate)(io_uring_sqe*, int, int, Offset, Offset)) {
  prepare_fallocate(request, 0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<Offset>(step.offset),
                    static_cast<Offset>(step.bytes));
}

void prepare(io_uring_sqe* request, const Step& step) {
  const auto pieces = static_cast<unsigned>(step.pieces.size());
  switch (step.operation) {
    case Operation::read: io_uring_prep_readv(request, 0, step.pieces.data(), pieces, step.offset); break;
    case Operation::write: io_uring_prep_writev(request, 0, step.pieces.data(), pieces, step.offset); break;
    case Operation::flush: io_uring_prep_fsync(request, 0, IORING_FSYNC_DATASYNC); break;
    case Operation::discard: discard(request, step, io_uring_prep_fallocate); break;
  }
  RestrictedRing::use_file(request);
}

}  // namespace

UringQueue::UringQueue(ImageFile& file, std::size_t depth, WakeFd wake)
    : file_(file), slots_(depth), depth_(depth), wake_(std::move(wake)) {}

tl::expected<std::unique_ptr<TransferQueue>, int> UringQueue::make(ImageFile& file, std::size_t depth) {
  auto wake = WakeFd::make();
  if (!wake) return tl::unexpected(EMFILE);
  std::unique_ptr<UringQueue> queue(new UringQueue(file, depth, std::move(*wake)));
  auto ring = RestrictedRing::make(static_cast<unsigned>(depth), file.descriptor(), queue->wake_.get());
  if (!ring) return tl::unexpected(ring.error());
  queue->ring_ = std::move(*ring);
  return queue;
}

tl::expected<std::unique_ptr<TransferQueue>, int> UringQueue::in_ring(ImageFile& file, std::size_t depth,
                                                                      std::unique_ptr<RestrictedRing> ring,
                                                                      WakeFd wake, GiveBack give_back) {
  std::unique_ptr<UringQueue> queue(new UringQueue(file, depth, std::move(wake)));
  queue->ring_ = std::move(ring);
  queue->give_back_ = std::move(give_back);
  if (const auto set = queue->ring_->set_file(file.descriptor()); !set) return tl::unexpected(set.error());
  return queue;
}

UringQueue::~UringQueue() {
  if (!ring_) return;
  // What was pushed and not submitted, the kernel has not seen and never will.
  while (in_ring_ > io_uring_sq_ready(ring_->get())) {
    io_uring_cqe* answer = nullptr;
    if (io_uring_wait_cqe(ring_->get(), &answer) != 0) continue;
    io_uring_cqe_seen(ring_->get(), answer);
    --in_ring_;
  }
  // A ring that keeps steps which the kernel never took is of no use to another queue.
  if (give_back_ && in_ring_ == 0 && ring_->set_file(-1)) give_back_(std::move(ring_), std::move(wake_));
}

bool UringQueue::submit(const Transfer& transfer) {
  if (on_the_way() >= depth_) return false;
  if (const int error = error_in(transfer, file_.geometry()); error != 0) {
    done_.push_back({transfer.token, error});
    wake_.raise();
    return true;
  }
  const auto slot = slots_.take();
  if (!slot) return false;
  slots_[*slot].begin(transfer, file_.alignment());
  push_step(*slot);
  return true;
}

void UringQueue::push_step(TransferSlots::Number slot) {
  // There is always room: the ring has at least as many places as there are slots, and a slot has one step.
  io_uring_sqe* request = io_uring_get_sqe(ring_->get());
  prepare(request, slots_[slot].next());
  io_uring_sqe_set_data64(request, slot);
  ++in_ring_;
}

void UringQueue::start() {
  if (io_uring_sq_ready(ring_->get()) == 0) return;
  int submitted;
  do submitted = io_uring_submit(ring_->get());
  while (submitted == -EINTR);
  // The kernel has no memory for them now: come back and try again.
  if (io_uring_sq_ready(ring_->get()) > 0) wake_.raise();
}

void UringQueue::collect(const std::function<void(const Completion&)>& take) {
  wake_.clear();
  io_uring_cqe* answer = nullptr;
  while (io_uring_peek_cqe(ring_->get(), &answer) == 0) {
    const auto slot = static_cast<TransferSlots::Number>(io_uring_cqe_get_data64(answer));
    const int result = answer->res;
    io_uring_cqe_seen(ring_->get(), answer);
    --in_ring_;
    on_answer(slot, result);
  }
  start();
  const auto done = std::exchange(done_, {});
  for (const Completion& completion : done) take(completion);
}

void UringQueue::on_answer(TransferSlots::Number slot, int result) {
  TransferSteps& steps = slots_[slot];
  const auto error = steps.finish(result);
  if (!error) return push_step(slot);
  done_.push_back({steps.transfer().token, file_.result_of(steps.transfer(), *error)});
  slots_.release(slot);
}

}  // namespace pinfold::devices::block
