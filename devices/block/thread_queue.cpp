#include "devices/block/thread_queue.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/uio.h>

#include <cerrno>
#include <utility>

#include "devices/block/transfer_check.hpp"

namespace pinfold::devices::block {
namespace {

std::int64_t call_host(int fd, const Step& step) {
  const auto offset = static_cast<off_t>(step.offset);
  const auto pieces = static_cast<int>(step.pieces.size());
  switch (step.operation) {
    case Operation::read: return ::preadv(fd, step.pieces.data(), pieces, offset);
    case Operation::write: return ::pwritev(fd, step.pieces.data(), pieces, offset);
    case Operation::flush: return ::fdatasync(fd);
    case Operation::discard:
      return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                         static_cast<off_t>(step.bytes));
  }
  return -1;
}

}  // namespace

ThreadQueue::ThreadQueue(ImageFile& file, IoThreads& threads, std::size_t depth, WakeFd wake)
    : file_(file), threads_(threads), slots_(depth), depth_(depth), wake_(std::move(wake)) {}

ThreadQueue::~ThreadQueue() {
  std::unique_lock lock(mutex_);
  answered_.wait(lock, [this] { return running_ == 0; });
  if (give_back_) give_back_(std::move(wake_));
}

bool ThreadQueue::submit(const Transfer& transfer) {
  if (on_the_way() >= depth_) return false;
  if (const int error = error_in(transfer, file_.geometry()); error != 0) {
    failed_.push_back({transfer.token, error});
    wake_.raise();
    return true;
  }
  const auto slot = slots_.take();
  if (!slot) return false;
  slots_[*slot].begin(transfer, file_.alignment());
  submitted_.push_back(*slot);
  return true;
}

void ThreadQueue::start() {
  const auto starting = std::exchange(submitted_, {});
  {
    const std::lock_guard lock(mutex_);
    running_ += starting.size();
  }
  for (const auto slot : starting) threads_.add([this, slot] { work_on(slot); });
}

// On a thread of IoThreads, to which the slot belongs until it is answered.
void ThreadQueue::work_on(TransferSlots::Number slot) {
  TransferSteps& steps = slots_[slot];
  std::optional<int> error;
  while (!error) {
    const std::int64_t result = call_host(file_.descriptor(), steps.next());
    error = steps.finish(result < 0 ? -errno : result);
  }
  const int result = file_.result_of(steps.transfer(), *error);
  const std::lock_guard lock(mutex_);
  answers_.push_back({slot, result});
  // With the lock held: once it is released, the queue may be gone.
  wake_.raise();
  --running_;
  answered_.notify_all();
}

void ThreadQueue::collect(const std::function<void(const Completion&)>& take) {
  wake_.clear();
  std::vector<Answer> answers;
  {
    const std::lock_guard lock(mutex_);
    answers.swap(answers_);
  }
  auto done = std::exchange(failed_, {});
  for (const Answer& answer : answers) {
    done.push_back({slots_[answer.slot].transfer().token, answer.error});
    slots_.release(answer.slot);
  }
  for (const Completion& completion : done) take(completion);
}

}  // namespace pinfold::devices::block
