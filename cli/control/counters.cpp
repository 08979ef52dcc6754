#include "cli/control/counters.hpp"

#include <string>

namespace pinfold::cli {
namespace {

using Json = nlohmann::ordered_json;

double ticks_to_ms(const vmm::Domain& domain, std::uint64_t ticks) {
  return static_cast<double>(domain.clock().scale().to_ns(ticks)) / 1e6;
}

/// What the gate did without an exit; none of it is in the other counts.
Json finished_in_the_vm(vmm::Domain& domain, const vmm::FastPathCounts& counts) {
  constexpr std::size_t page_fault = 14;
  std::uint64_t others = 0;
  for (std::size_t vector = 0; vector < counts.exceptions.size(); ++vector)
    if (vector != page_fault) others += counts.exceptions[vector];
  Json all = {{"guest syscall", counts.syscalls},
              {"page fault", counts.exceptions[page_fault]},
              {"other exception", others},
              {"event", counts.events}};
  for (std::size_t i = 0; i < counts.hypercalls.size(); ++i)
    if (counts.hypercalls[i] != 0) all[domain.hypercalls().name(i)] = counts.hypercalls[i];
  all["segment base register"] = counts.base_registers;
  all["interrupt flag"] = counts.interrupt_flags;
  const auto resident = [&](pvmmu::ResidentWork work) {
    return counts.resident[static_cast<std::size_t>(work)];
  };
  all["entry of an L1"] = resident(pvmmu::ResidentWork::l1_entry);
  all["plain store to an L1"] = counts.resident_stores;
  all["empty entry of an upper table"] = resident(pvmmu::ResidentWork::same_upper_entry);
  all["data by mmu_update"] = resident(pvmmu::ResidentWork::plain_data);
  all["entry of an L1 by its address"] = counts.resident_va_updates;
  all["root"] = resident(pvmmu::ResidentWork::root);
  return all;
}

}  // namespace

Json counters_of(pvmmu::Held, vmm::Domain& domain) {
  const vmm::Statistics& s = domain.statistics();
  Json all;
  Json exits;
  for (std::size_t i = 0; i < vmm::exit_reasons; ++i)
    exits[vmm::name(static_cast<vmm::ExitReason>(i))] = s.exits[i];
  exits["total"] = s.total_exits();
  all["exits"] = exits;
  Json outside;
  for (std::size_t i = 0; i < vmm::exit_reasons; ++i)
    outside[vmm::name(static_cast<vmm::ExitReason>(i))] = ticks_to_ms(domain, s.ticks_outside[i]);
  all["ms_until_exit"] = outside;
  Json calls = Json::object();
  for (std::size_t i = 0; i < s.hypercalls.size(); ++i)
    if (s.hypercalls[i] != 0) calls[domain.hypercalls().name(i)] = s.hypercalls[i];
  calls["unknown"] = s.unknown_hypercalls;
  all["hypercalls"] = calls;
  const vmm::FastPathCounts in_vm = domain.gate().fast_path_counts();
  all["finished_in_the_vm"] = finished_in_the_vm(domain, in_vm);
  all["left_by_the_resident_path"] = {{"needs the monitor", in_vm.resident[0]},
                                      {"lock held", in_vm.resident_kept_out}};
  all["multicall_entries"] = s.multicall_entries;
  all["continuations"] = s.continuations;
  all["lock_waits"] = domain.mutex().waits();
  Json extended = Json::object();
  for (const auto& [number, count] : s.mmuext_operations) extended[std::to_string(number)] = count;
  all["mmuext_operations"] = extended;
  const pvmmu::MmuCounters& m = domain.mmu().counters();
  all["mmu"] = {{"update_requests", s.mmu_updates},
                {"concurrent_updates", s.concurrent_mmu_updates},
                {"plain_stores_emulated", s.pte_stores},
                {"entries_checked", m.entries_checked},
                {"entries_refused", m.entries_refused},
                {"entries_stored", m.entries_stored},
                {"tables_validated", m.tables_validated},
                {"tables_released", m.tables_released},
                {"root_loads", m.root_loads},
                {"first_writes_to_clean_pages", m.dirty_faults},
                {"view_changes", domain.view().changes()},
                {"window_changes", domain.view().window_changes()},
                {"mirrors_in_use", domain.arena().mirrors().in_use()},
                {"slow_syscalls", s.slow_syscalls},
                {"entry_stubs", s.entry_stubs},
                {"entry_stub_steps", s.entry_stub_steps},
                {"audits", s.audits}};
  all["privileged_instructions"] = s.privileged;
  all["events_delivered"] = s.events;
  all["sleeps"] = s.sleeps;
  all["sleeps_begun_again"] = s.sleeps_again;
  all["signals_to_vcpus"] = s.signals.load();
  all["monitor_ms"] = ticks_to_ms(domain, s.monitor_ticks);
  all["asleep_ms"] = ticks_to_ms(domain, s.blocked_ticks);
  return all;
}

}  // namespace pinfold::cli
