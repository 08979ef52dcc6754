#include "devices/queue_thread_reserve.hpp"

#include <utility>

namespace pinfold::devices {

void QueueThreadEnd::operator()(QueueThread* thread) const {
  std::unique_ptr<QueueThread> owned(thread);
  if (reserve) reserve->give_back(std::move(owned));
}

tl::expected<OwnedQueueThread, std::string> queue_thread(QueueThreadReserve* reserve,
                                                         const std::function<void()>& on_change) {
  if (reserve == nullptr)
    return QueueThread::make(on_change).map([](auto made) { return OwnedQueueThread(made.release()); });
  if (auto taken = reserve->take()) return taken;
  return tl::unexpected(std::string("no thread is free"));
}

tl::expected<std::shared_ptr<QueueThreadReserve>, std::string> QueueThreadReserve::make(
    std::size_t count, const std::function<void()>& on_change) {
  auto reserve = std::make_shared<QueueThreadReserve>();
  for (std::size_t n = 0; n < count; ++n) {
    auto thread = QueueThread::make(on_change);
    if (!thread) return tl::unexpected(thread.error());
    (*thread)->start();
    reserve->idle_.push_back(std::move(*thread));
  }
  return reserve;
}

OwnedQueueThread QueueThreadReserve::take() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return nullptr;
  OwnedQueueThread taken(idle_.back().release(), QueueThreadEnd{shared_from_this()});
  idle_.pop_back();
  return taken;
}

std::size_t QueueThreadReserve::free() {
  const std::lock_guard lock(mutex_);
  return idle_.size();
}

void QueueThreadReserve::give_back(std::unique_ptr<QueueThread> thread) {
  thread->settle();
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(thread));
}

}  // namespace pinfold::devices
