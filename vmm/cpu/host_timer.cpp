#include "vmm/cpu/host_timer.hpp"

#include <csignal>

#include <unistd.h>

namespace pinfold::vmm {

bool HostTimer::create() {
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGUSR1;
  event._sigev_un._tid = static_cast<pid_t>(gettid());
  exists_ = timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;
  return exists_;
}

void HostTimer::destroy() {
  if (exists_) timer_delete(timer_);
  exists_ = false;
}

void HostTimer::set(std::uint64_t in_ns) {
  if (!exists_) return;
  constexpr std::uint64_t second = 1'000'000'000;
  itimerspec spec{};
  spec.it_value.tv_sec = static_cast<time_t>(in_ns / second);
  spec.it_value.tv_nsec = static_cast<long>(in_ns % second);
  timer_settime(timer_, 0, &spec, nullptr);
}

}  // namespace pinfold::vmm
