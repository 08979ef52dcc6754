#include "vmm/cpu/timers.hpp"

#include <algorithm>

namespace pinfold::vmm {

void VcpuTimers::set_one_shot(std::uint64_t deadline, std::uint64_t now) {
  one_shot_ = deadline;
  arm(now);
}

void VcpuTimers::set_period(std::uint64_t period, std::uint64_t now) {
  period_ = period;
  arm(now);
}

void VcpuTimers::set_refresh(std::uint64_t deadline, std::uint64_t now) {
  refresh_ = deadline;
  arm(now);
}

void VcpuTimers::pause_tick(std::uint64_t now) {
  tick_paused_ = true;
  if (period_ != 0) arm(now);
}

bool VcpuTimers::resume_tick(std::uint64_t now) {
  tick_paused_ = false;
  if (period_ != 0 || armed_without_refresh_) arm(now);
  return period_ != 0 && now >= last_tick_ + period_;
}

std::uint64_t VcpuTimers::next_deadline() const {
  if (!ticks()) return one_shot_;
  const std::uint64_t tick = last_tick_ + period_;
  return one_shot_ == 0 ? tick : std::min(one_shot_, tick);
}

bool VcpuTimers::check(std::uint64_t now) {
  const std::uint64_t deadline = next_deadline();
  if (deadline == 0 || now < deadline) {
    if (alarm_went_off_ && alarm_went_off_.exchange(false)) arm(now);
    return false;
  }
  if (one_shot_ != 0 && now >= one_shot_) one_shot_ = 0;
  if (ticks() && now >= last_tick_ + period_) last_tick_ = now;
  arm(now);
  return true;
}

void VcpuTimers::arm(std::uint64_t now) {
  std::uint64_t deadline = next_deadline();
  armed_without_refresh_ = tick_paused_ && refresh_ != 0;
  if (!tick_paused_ && refresh_ != 0) deadline = deadline == 0 ? refresh_ : std::min(deadline, refresh_);
  alarm_.set(deadline == 0 ? 0 : deadline > now ? deadline - now : 1);
}

}  // namespace pinfold::vmm
