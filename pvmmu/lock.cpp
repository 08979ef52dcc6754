#include "pvmmu/lock.hpp"

#include <algorithm>
#include <thread>

namespace pinfold::pvmmu {

// A thread that wants the lock alone stores taken_ and then reads each inside_; a sharer stores its inside_
// and then reads taken_. All four accesses are sequentially consistent, so at least one of the two sees the
// other's store.

void DomainMutex::lock(Held by) {
  lock_behind_others();
  if (in_vm_ != nullptr && in_vm_->keep_out(by)) waits_.fetch_add(1, std::memory_order_relaxed);
  if (sharers_.empty()) return;
  taken_.store(true);
  for (DomainSharer* sharer : sharers_)
    if (sharer->await_left()) waits_.fetch_add(1, std::memory_order_relaxed);
}

void DomainMutex::lock_behind_others() {
  if (mutex_.try_lock()) return;
  ++waiting_;
  waits_.fetch_add(1, std::memory_order_relaxed);
  mutex_.lock();
  --waiting_;
}

void DomainMutex::unlock() {
  if (in_vm_ != nullptr) in_vm_->let_in();
  if (!sharers_.empty()) taken_.store(false, std::memory_order_release);
  mutex_.unlock();
}

void DomainMutex::share_with(SharersInVm* in_vm) {
  const std::lock_guard lock(mutex_);
  in_vm_ = in_vm;
}

DomainSharer::DomainSharer(DomainMutex& mutex) : mutex_(mutex) {
  const std::lock_guard lock(mutex.mutex_);
  mutex.sharers_.push_back(this);
}

DomainSharer::~DomainSharer() {
  const std::lock_guard lock(mutex_.mutex_);
  std::erase(mutex_.sharers_, this);
}

void DomainSharer::enter() {
  inside_.store(1);
  if (!mutex_.taken_.load()) return;
  leave();
  // Behind whoever has it alone. While this has the mutex nobody else has, and the next one sees the flag.
  mutex_.lock_behind_others();
  inside_.store(1);
  mutex_.mutex_.unlock();
}

void DomainSharer::leave() {
  inside_.store(0);
  if (mutex_.taken_.load()) inside_.notify_one();
}

bool DomainSharer::await_left() {
  if (inside_.load() == 0) return false;
  while (inside_.load() != 0) inside_.wait(1);
  return true;
}

void ShortLock::wait() const {
  while (taken_.test(std::memory_order_relaxed)) std::this_thread::yield();
}

}  // namespace pinfold::pvmmu
