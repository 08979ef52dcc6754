#include "cli/metrics/families.hpp"

#include <array>

#include "vmm/statistics.hpp"

namespace pinfold::cli::metrics {
namespace {

using enum Type;

// clang-format off
constexpr auto all = std::to_array<Family>({
    {"pinfold_up", gauge, "1 if the guest's monitor gave an answer that was understood, 0 if not.", Shape::up},
    {"pinfold_guest_info", gauge, "Always 1. ID of the guest, domain in its machine, process of its monitor, which guests of one machine share, and number of its life in this monitor.", Shape::info},
    {"pinfold_guest_state", gauge, "1 for the state that the guest is in, 0 for the others.", Shape::state, "state", "", "state"},
    {"pinfold_guest_uptime_seconds", gauge, "Time since this life of the guest began.", Shape::number, "seconds", "", "", Unit::seconds},
    {"pinfold_guest_memory_bytes", gauge, "Memory that the guest has now.", Shape::number, "frames", "", "", Unit::frames},
    {"pinfold_guest_memory_max_bytes", gauge, "The most memory that the guest can get.", Shape::number, "most_frames", "", "", Unit::frames},
    {"pinfold_guest_vcpus", gauge, "vCPUs of the guest in each state.", Shape::group, "vcpus", "", "state"},
    {"pinfold_process_cpu_seconds_total", counter, "Processor time of all threads of the monitor. Guests of one machine share it.", Shape::number, "cpu_seconds", "", "", Unit::seconds},
    {"pinfold_exits_total", counter, "Exits from the guest to the monitor.", Shape::group, "exits", "", "reason"},
    {"pinfold_guest_run_seconds_total", counter, "Time between entries into the guest and exits, by the exit's reason.", Shape::group, "ms_until_exit", "", "reason", Unit::milliseconds},
    {"pinfold_monitor_seconds_total", counter, "Time that vCPUs spent in the monitor.", Shape::number, "monitor_ms", "", "", Unit::milliseconds},
    {"pinfold_asleep_seconds_total", counter, "Time that vCPUs slept because the guest blocked.", Shape::number, "asleep_ms", "", "", Unit::milliseconds},
    {"pinfold_hypercalls_total", counter, "Hypercalls that the monitor answered.", Shape::group, "hypercalls", "", "hypercall"},
    {"pinfold_multicall_entries_total", counter, "Hypercalls that were made as parts of multicalls.", Shape::number, "multicall_entries"},
    {"pinfold_continuations_total", counter, "Hypercalls that were interrupted and that the guest makes again for the rest.", Shape::number, "continuations"},
    {"pinfold_gate_finished_total", counter, "What was finished in the virtual machine without an exit; in no other count.", Shape::group, "finished_in_the_vm", "", "kind"},
    {"pinfold_privileged_instructions_total", counter, "Privileged instructions that were emulated.", Shape::number, "privileged_instructions"},
    {"pinfold_events_delivered_total", counter, "Event upcalls that were delivered to the guest.", Shape::number, "events_delivered"},
    {"pinfold_sleeps_total", counter, "How often a vCPU blocked or polled and had to wait.", Shape::number, "sleeps"},
    {"pinfold_signals_total", counter, "Signals that made a vCPU leave the guest to look at its events.", Shape::number, "signals_to_vcpus"},
    {"pinfold_lock_waits_total", counter, "How often a thread had to wait for the domain's lock.", Shape::number, "lock_waits"},
    {"pinfold_mmu_entries_checked_total", counter, "Present page-table entries that the guest asked for and a rule looked at.", Shape::number, "mmu", "entries_checked"},
    {"pinfold_mmu_refusals_total", counter, "Refusals: of such an entry, or of another request to the validator.", Shape::number, "mmu", "entries_refused"},
    {"pinfold_mmu_entries_stored_total", counter, "Page-table entries that were stored.", Shape::number, "mmu", "entries_stored"},
    {"pinfold_mmu_update_requests_total", counter, "Requests in lists of mmu_update.", Shape::number, "mmu", "update_requests"},
    {"pinfold_mmu_concurrent_updates_total", counter, "Those of these requests that were made with the domain's lock shared.", Shape::number, "mmu", "concurrent_updates"},
    {"pinfold_mmu_emulated_stores_total", counter, "Plain stores to page tables that were emulated.", Shape::number, "mmu", "plain_stores_emulated"},
    {"pinfold_mmu_tables_validated_total", counter, "Frames that became page tables.", Shape::number, "mmu", "tables_validated"},
    {"pinfold_mmu_tables_released_total", counter, "Page tables that became plain frames.", Shape::number, "mmu", "tables_released"},
    {"pinfold_mmu_tables", gauge, "Page tables that the guest has now. Each has a mirror.", Shape::number, "mmu", "mirrors_in_use"},
    {"pinfold_mmu_mirror_bytes", gauge, "Memory of the mirrors that are in use.", Shape::number, "mmu", "mirrors_in_use", "", Unit::frames},
    {"pinfold_mmu_root_loads_total", counter, "Loads of a root page table.", Shape::number, "mmu", "root_loads"},
    {"pinfold_mmu_view_changes_total", counter, "Changes of what the virtual machine may access of its memory.", Shape::number, "mmu", "view_changes"},
    {"pinfold_mmu_audits_total", counter, "Audits of all counts and mirrors (--audit).", Shape::number, "mmu", "audits"},
    {"pinfold_disk_requests_total", counter, "Requests to a disk.", Shape::disk, "devices", "requests", "disk"},
    {"pinfold_disk_failed_requests_total", counter, "Requests to a disk that failed.", Shape::disk, "devices", "failed", "disk"},
    {"pinfold_disk_flushes_total", counter, "Flushes of a disk.", Shape::disk, "devices", "flushes", "disk"},
    {"pinfold_disk_discards_total", counter, "Discards on a disk.", Shape::disk, "devices", "discards", "disk"},
    {"pinfold_disk_read_bytes_total", counter, "Bytes that the guest read from a disk.", Shape::disk, "devices", "bytes_read", "disk"},
    {"pinfold_disk_written_bytes_total", counter, "Bytes that the guest wrote to a disk.", Shape::disk, "devices", "bytes_written", "disk"},
    {"pinfold_disk_events_sent_total", counter, "Events to the guest about a disk.", Shape::disk, "devices", "events_sent", "disk"},
    {"pinfold_disk_events_received_total", counter, "Events from the guest about a disk.", Shape::disk, "devices", "events_received", "disk"},
    {"pinfold_interface_transmitted_frames_total", counter, "Frames that the guest transmitted.", Shape::interface, "devices", "tx_frames", "interface"},
    {"pinfold_interface_transmitted_bytes_total", counter, "Bytes of these frames.", Shape::interface, "devices", "tx_bytes", "interface"},
    {"pinfold_interface_refused_frames_total", counter, "Frames of the guest's that were refused.", Shape::interface, "devices", "tx_refused", "interface"},
    {"pinfold_interface_received_frames_total", counter, "Frames that the guest received.", Shape::interface, "devices", "rx_frames", "interface"},
    {"pinfold_interface_received_bytes_total", counter, "Bytes of these frames.", Shape::interface, "devices", "rx_bytes", "interface"},
    {"pinfold_interface_dropped_frames_total", counter, "Frames for the guest that were dropped.", Shape::interface, "devices", "rx_dropped", "interface"},
    {"pinfold_interface_events_sent_total", counter, "Events to the guest about an interface.", Shape::interface, "devices", "events_sent", "interface"},
    {"pinfold_interface_events_received_total", counter, "Events from the guest about an interface.", Shape::interface, "devices", "events_received", "interface"},
});
// clang-format on

constexpr std::array<std::string_view, 5> states{"running", "pausing", "paused", "preserved", "ending"};
constexpr std::array<std::string_view, 5> vcpu_states{"running", "runnable", "blocked", "stopped", "offline"};

/// As the parts that answer them name them, and what has no number.
constexpr auto hypercalls = std::to_array<std::string_view>({"callback_op",
                                                             "console_io",
                                                             "domctl",
                                                             "event_channel_op",
                                                             "fpu_taskswitch",
                                                             "get_debugreg",
                                                             "grant_table_op",
                                                             "iret",
                                                             "mca",
                                                             "memory_op",
                                                             "mmu_update",
                                                             "mmuext_op",
                                                             "multicall",
                                                             "nmi_op",
                                                             "physdev_op",
                                                             "platform_op",
                                                             "sched_op",
                                                             "set_callbacks",
                                                             "set_debugreg",
                                                             "set_gdt",
                                                             "set_segment_base",
                                                             "set_timer_op",
                                                             "set_trap_table",
                                                             "stack_switch",
                                                             "sysctl",
                                                             "update_descriptor",
                                                             "update_va_mapping",
                                                             "vcpu_op",
                                                             "vm_assist",
                                                             "update_va_mapping_otherdomain",
                                                             "xen_version",
                                                             "unknown"});

constexpr auto fast_paths = std::to_array<std::string_view>({"guest syscall",
                                                             "page fault",
                                                             "other exception",
                                                             "event",
                                                             "segment base register",
                                                             "interrupt flag",
                                                             "entry of an L1",
                                                             "plain store to an L1",
                                                             "empty entry of an upper table",
                                                             "data by mmu_update",
                                                             "entry of an L1 by its address",
                                                             "root",
                                                             "fpu_taskswitch",
                                                             "iret",
                                                             "mmu_update",
                                                             "mmuext_op",
                                                             "multicall",
                                                             "set_segment_base",
                                                             "stack_switch",
                                                             "update_va_mapping",
                                                             "xen_version"});

std::array<std::string_view, vmm::exit_reasons> exit_reasons() {
  std::array<std::string_view, vmm::exit_reasons> names;
  for (std::size_t i = 0; i < names.size(); ++i) names.at(i) = vmm::name(static_cast<vmm::ExitReason>(i));
  return names;
}

}  // namespace

std::span<const Family> families() { return all; }

std::span<const std::string_view> words_of(const Family& family) {
  static const auto reasons = exit_reasons();
  const std::string_view label = family.label;
  if (label == "reason") return reasons;
  if (label == "hypercall") return hypercalls;
  if (label == "kind") return fast_paths;
  if (family.shape == Shape::state) return states;
  return vcpu_states;
}

}  // namespace pinfold::cli::metrics
