#include "vmm/cpu/flush_duties.hpp"

#include <algorithm>

namespace pinfold::vmm {

bool FlushDuties::request(VcpuId by, VcpuId of) {
  if (by == of || one_for_all_) {
    request(by);
    return false;
  }
  request(of);
  return await_exit(by, of);
}

bool FlushDuties::await_exit(VcpuId by, VcpuId of) {
  if (by == of || !at(of).in_guest) return false;
  std::uint64_t& entry = at(by).awaited_entry[of.raw()];
  if (entry == at(of).entries) return false;  // awaited and kicked already
  if (entry == 0) at(by).awaited.push_back(of);
  entry = at(of).entries;
  return true;
}

bool FlushDuties::some_is_inside(VcpuId by) {
  Cpu& waiting = at(by);
  std::erase_if(waiting.awaited, [&](VcpuId of) {
    std::uint64_t& entry = waiting.awaited_entry[of.raw()];
    if (at(of).in_guest && at(of).entries == entry) return false;
    entry = 0;
    return true;
  });
  return !waiting.awaited.empty();
}

void FlushDuties::stop_waiting(VcpuId by) {
  for (const VcpuId of : at(by).awaited) at(by).awaited_entry[of.raw()] = 0;
  at(by).awaited.clear();
}

const char* FlushDuties::words_for_objection(VcpuId of) const {
  if (due(of)) return "with translations that had to be dropped";
  if (root_may_be_gone(of)) return "by way of page tables that may have been given up";
  return "before another vCPU had left the guest to drop its translations";
}

bool FlushDuties::all_dropped_since(std::uint64_t mark) const {
  return std::ranges::all_of(cpus_, [mark](const Cpu& cpu) {
    const bool will_drop = !cpu.in_guest && cpu.asked > cpu.dropped;
    const bool on_old_root = cpu.in_guest && cpu.root_known < mark;
    return (cpu.dropped > mark || will_drop) && !on_old_root;
  });
}

}  // namespace pinfold::vmm
