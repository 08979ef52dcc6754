#include <cstdint>

#include <xen/vcpu.h>
#include <xen/xen.h>

#include <atomic>
#include <span>

#include "vmm/cpu/time_areas.hpp"
#include "vmm/vcpu_info.hpp"

namespace pinfold::vmm {

void TimeAreas::publish_time(GuestMemory& kernel, VcpuInfoPlace place, const Clock& clock,
                             bool stable) const {
  vcpu_time_info_t time{};
  const TimeStamp stamp = clock.stamp();
  time.tsc_timestamp = stamp.tsc;
  time.system_time = stamp.time;
  time.tsc_to_system_mul = clock.scale().mul;
  time.tsc_shift = clock.scale().shift;
  time.flags = stable ? XEN_PVCLOCK_TSC_STABLE_BIT : 0;
  SharedPage& page = place.page;
  const std::size_t at = place.offset + VcpuInfo::time_offset;
  const auto bytes = std::as_bytes(std::span(&time, 1));
  // The version is odd while the rest is being written.
  const auto version = page.load<std::uint32_t>(at);
  page.store<std::uint32_t>(at, version | 1);
  page.copy_in(at + sizeof version, bytes.subspan(sizeof version));
  time.version = (version | 1) + 1;
  page.store<std::uint32_t>(at, time.version);
  if (time_area_.raw() != 0) publish_time_copy(kernel, time);
}

void TimeAreas::publish_time_copy(GuestMemory& kernel, const vcpu_time_info& time) const {
  // As above. Processors of this kind store in the order of the program.
  const auto rest = std::as_bytes(std::span(&time, 1)).subspan(sizeof time.version);
  (void)kernel.store(time_area_, time.version - 1);
  std::atomic_signal_fence(std::memory_order_release);
  (void)kernel.write(time_area_.plus(sizeof time.version), rest);
  std::atomic_signal_fence(std::memory_order_release);
  (void)kernel.store(time_area_, time.version);
}

void TimeAreas::publish_run_state(GuestMemory& kernel, const RunStateClock& run_state, std::uint64_t now,
                                  bool update_flag) const {
  if (run_state_area_.raw() == 0) return;
  vcpu_runstate_info_t info = run_state_info(run_state, now);
  if (!update_flag) {
    (void)kernel.store(run_state_area_, info);
    return;
  }
  // Bit 63 of the entry time says that the rest is being written (XEN_RUNSTATE_UPDATE): it is set before
  // anything else changes, and goes last; processors of this kind store in the order of the program.
  const GuestVaddr entry_time = run_state_area_.plus(offsetof(vcpu_runstate_info_t, state_entry_time));
  const std::uint64_t entered = info.state_entry_time;
  info.state_entry_time |= XEN_RUNSTATE_UPDATE;
  (void)kernel.store(entry_time, info.state_entry_time);
  std::atomic_signal_fence(std::memory_order_release);
  (void)kernel.store(run_state_area_, info);
  std::atomic_signal_fence(std::memory_order_release);
  (void)kernel.store(entry_time, entered);
}

vcpu_runstate_info run_state_info(const RunStateClock& run_state, std::uint64_t now) {
  vcpu_runstate_info_t info{};
  info.state = static_cast<int>(run_state.state());
  info.state_entry_time = run_state.since();
  for (std::size_t i = 0; i < 4; ++i) info.time[i] = run_state.spent(static_cast<RunState>(i), now);
  return info;
}

}  // namespace pinfold::vmm
