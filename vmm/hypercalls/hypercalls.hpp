// The hypercalls that the monitor answers itself, by area of the ABI (xen/xen.h). Devices register theirs
// beside these.
#pragma once

#include "pvmmu/types.hpp"

namespace pinfold::vmm {

class Domain;

namespace hypercalls {
/// What XENVER_version answers: 4.17.
inline constexpr std::int64_t version = 4 << 16 | 17;

void register_mmu(Domain& domain);          ///< mmu_update, mmuext_op, update_va_mapping
void register_descriptors(Domain& domain);  ///< set_gdt, update_descriptor
void register_memory(Domain& domain);       ///< memory_op
void register_traps(
    Domain& domain);  ///< set_trap_table, callbacks, iret, stack_switch, debug registers, segment bases
void register_scheduling(Domain& domain);  ///< sched_op, vcpu_op, set_timer_op
void register_platform(Domain& domain);    ///< xen_version, vm_assist, physdev_op, and what a domU may not
void register_multicall(Domain& domain);
}  // namespace hypercalls

}  // namespace pinfold::vmm
