#include "devices/block/io_threads.hpp"

#include "pvmmu/service_thread.hpp"

namespace pinfold::devices::block {

IoThreads::IoThreads(unsigned count) {
  for (unsigned i = 0; i < count; ++i) threads_.push_back(service_thread(ThreadKind::io, [this] { work(); }));
}

IoThreads::~IoThreads() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void IoThreads::add(Job job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
}

void IoThreads::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ending_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    lock.lock();
  }
}

}  // namespace pinfold::devices::block
