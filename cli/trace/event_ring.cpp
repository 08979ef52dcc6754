#include "trace/event_ring.hpp"

namespace pinfold::trace {

EventRing::EventRing() : slots_(std::make_unique<ToldEvent[]>(size)) {}

void EventRing::attach(const pvmmu::TraceEvent& event) {
  Attached attached{{event.contents.begin(), event.contents.end()},
                    {event.digests.begin(), event.digests.end()}};
  const std::lock_guard lock(mutex_);
  attached_.push_back(std::move(attached));
}

/// What was attached to the event, whose spans are made to refer to it.
EventRing::Attached EventRing::attached_to(pvmmu::TraceEvent& event) {
  if (event.contents.empty() && event.digests.empty()) return {};
  const std::lock_guard lock(mutex_);
  Attached attached = std::move(attached_.front());
  attached_.pop_front();
  event.contents = attached.contents;
  event.digests = attached.digests;
  return attached;
}

void EventRing::wait_for_room() {
  for (std::uint64_t taken = taken_seen_; taken == taken_seen_;
       taken = taken_.load(std::memory_order_acquire))
    taken_.wait(taken_seen_, std::memory_order_acquire);
  taken_seen_ = taken_.load(std::memory_order_acquire);
}

void EventRing::give_back(std::uint64_t taken) {
  taken_.store(taken, std::memory_order_release);
  taken_.notify_one();
}

void EventRing::wake() {
  const std::lock_guard lock(mutex_);
  there_is_some_.notify_one();
}

void EventRing::wait(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  there_is_some_.wait_for(lock, patience, [this] {
    return closed() ||
           put_.load(std::memory_order_acquire) - taken_.load(std::memory_order_relaxed) >= wake_each;
  });
}

void EventRing::close() {
  closed_.store(true, std::memory_order_release);
  wake();
}

}  // namespace pinfold::trace
