#include "report/causes.hpp"

#include <fmt/format.h>
#include <xen/xen.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "pvmmu/trace.hpp"

namespace pinfold::report {
namespace {

struct Named {
  std::uint64_t number;
  std::string_view name;
};

/// Those after which MMU events can follow (xen/xen.h).
constexpr auto hypercalls = std::to_array<Named>({
    {__HYPERVISOR_set_trap_table, "set_trap_table"},
    {__HYPERVISOR_mmu_update, "mmu_update"},
    {__HYPERVISOR_set_gdt, "set_gdt"},
    {__HYPERVISOR_stack_switch, "stack_switch"},
    {__HYPERVISOR_set_callbacks, "set_callbacks"},
    {__HYPERVISOR_fpu_taskswitch, "fpu_taskswitch"},
    {__HYPERVISOR_update_descriptor, "update_descriptor"},
    {__HYPERVISOR_memory_op, "memory_op"},
    {__HYPERVISOR_multicall, "multicall"},
    {__HYPERVISOR_update_va_mapping, "update_va_mapping"},
    {__HYPERVISOR_set_timer_op, "set_timer_op"},
    {__HYPERVISOR_xen_version, "xen_version"},
    {__HYPERVISOR_console_io, "console_io"},
    {__HYPERVISOR_grant_table_op, "grant_table_op"},
    {__HYPERVISOR_vm_assist, "vm_assist"},
    {__HYPERVISOR_update_va_mapping_otherdomain, "update_va_mapping_otherdomain"},
    {__HYPERVISOR_iret, "iret"},
    {__HYPERVISOR_vcpu_op, "vcpu_op"},
    {__HYPERVISOR_set_segment_base, "set_segment_base"},
    {__HYPERVISOR_mmuext_op, "mmuext_op"},
    {__HYPERVISOR_sched_op, "sched_op"},
    {__HYPERVISOR_event_channel_op, "event_channel_op"},
    {__HYPERVISOR_physdev_op, "physdev_op"},
});

/// Intel SDM vol. 3, table 6-1.
constexpr auto exceptions = std::to_array<Named>({
    {0, "divide error"},
    {1, "debug exception"},
    {3, "breakpoint"},
    {6, "invalid opcode"},
    {7, "device not available"},
    {8, "double fault"},
    {11, "segment not present"},
    {12, "stack fault"},
    {13, "protection fault"},
    {14, "page fault"},
});

template <std::size_t n>
std::string name_in(const std::array<Named, n>& names, std::uint64_t number, std::string_view kind) {
  const auto found = std::ranges::find(names, number, &Named::number);
  return found != names.end() ? std::string(found->name) : fmt::format("{} {}", kind, number);
}

}  // namespace

std::string cause_label(std::uint64_t cause) {
  if (cause < pvmmu::cause_exception) return name_in(hypercalls, cause, "hypercall");
  if (cause < pvmmu::cause_other) return name_in(exceptions, cause - pvmmu::cause_exception, "exception");
  return "other exit";
}

}  // namespace pinfold::report
