#include "vmm/watchdog.hpp"

#include <algorithm>
#include <system_error>

#include "pvmmu/service_thread.hpp"

namespace pinfold::vmm {

bool Watchdog::start() {
  try {
    thread_ = start_thread(ThreadKind::control, [this] { watch(); });
  } catch (const std::system_error&) {
    return false;
  }
  return true;
}

tl::expected<std::uint32_t, Errno> Watchdog::request(std::uint32_t id, std::uint32_t seconds) {
  const std::lock_guard lock(mutex_);
  std::uint32_t answer = 0;
  if (id == 0) {
    if (seconds == 0) return fail(Errno::einval);
    const auto free = std::ranges::find(timers_, false, &Timer::taken);
    if (free == timers_.end()) return fail(Errno::enospc);
    id = answer = static_cast<std::uint32_t>(free - timers_.begin()) + 1;
  } else if (id > timers || !timers_[id - 1].taken) {
    return fail(Errno::einval);
  }
  timers_[id - 1] = {seconds != 0, Clock::now() + std::chrono::seconds(seconds)};
  changed_.notify_one();
  return answer;
}

void Watchdog::watch() {
  std::unique_lock lock(mutex_);
  while (!stopped_) {
    const Timer* first = nullptr;
    for (const Timer& timer : timers_)
      if (timer.taken && (first == nullptr || timer.expires < first->expires)) first = &timer;
    if (first == nullptr) {
      changed_.wait(lock);
    } else if (const auto expires = first->expires; Clock::now() < expires) {
      changed_.wait_until(lock, expires);
    } else {
      lock.unlock();
      on_expiry_();
      return;
    }
  }
}

void Watchdog::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

}  // namespace pinfold::vmm
