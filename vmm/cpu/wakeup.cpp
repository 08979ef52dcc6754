#include "vmm/cpu/wakeup.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>

namespace pinfold::vmm {
namespace {

/// A deadline may be any number of 64 bits; the host's clock has fewer.
constexpr std::uint64_t longest_sleep_ns = 3'600'000'000'000;

}  // namespace

void Wakeup::kick() {
  {
    const std::lock_guard lock(mutex_);
    kicked_ = true;
    // Under the mutex, without which the thread does not end.
    if (takes_signals_) {
      ++signals_;
      pthread_kill(thread_, SIGUSR1);
    }
  }
  woken_.notify_one();
}

void Wakeup::end_thread() {
  const std::lock_guard nobody_sends_a_signal(mutex_);
  takes_signals_ = false;
}

void Wakeup::sleep(std::optional<std::uint64_t> limit_ns) {
  std::unique_lock lock(mutex_);
  const auto kicked = [this] { return kicked_.load(); };
  if (!limit_ns)
    woken_.wait(lock, kicked);
  else
    woken_.wait_for(lock, std::chrono::nanoseconds(std::min(*limit_ns, longest_sleep_ns)), kicked);
}

}  // namespace pinfold::vmm
