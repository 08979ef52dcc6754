#include "vmm/gate/state_pages.hpp"

namespace pinfold::vmm::gate {

FastPathCounts StatePages::counts() const {
  FastPathCounts sum;
  for (std::uint32_t cpu = 0; cpu < cpus_; ++cpu) {
    for (std::size_t i = 0; i < sum.exceptions.size(); ++i)
      sum.exceptions[i] += get(cpu, {&StatePage::bounced, i});
    for (std::size_t i = 0; i < sum.hypercalls.size(); ++i)
      sum.hypercalls[i] += get(cpu, {&StatePage::hypercalls, i});
    for (std::size_t i = 0; i < sum.resident.size(); ++i)
      sum.resident[i] += get(cpu, {&StatePage::resident_done, i});
    sum.resident_stores += get(cpu, &StatePage::resident_stores);
    sum.resident_va_updates += get(cpu, &StatePage::resident_va_updates);
    sum.resident_kept_out += get(cpu, &StatePage::resident_kept_out);
    sum.interrupt_flags += get(cpu, &StatePage::interrupt_flags);
    sum.base_registers += get(cpu, &StatePage::emulated);
    sum.syscalls += get(cpu, {&StatePage::bounced, bounced_syscalls});
    sum.events += get(cpu, {&StatePage::bounced, bounced_events});
  }
  return sum;
}

}  // namespace pinfold::vmm::gate
