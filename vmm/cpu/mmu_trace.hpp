// Who in the guest asked for what a trace of the MMU tells of.
#pragma once

#include "pvmmu/validator.hpp"
#include "vmm/registers.hpp"

namespace pinfold::vmm {

/// The address behind the call of the hypercall page, if RIP is there at a hypercall; else RIP. Reads code
/// and stack through the kernel's root without setting an accessed bit: tracing changes nothing.
///
/// Concurrency: needs the domain's lock.
[[nodiscard]] GuestVaddr caller_of_hypercall(pvmmu::Held held, const pvmmu::Validator& mmu, Mfn kernel_root,
                                             const Registers& registers);

}  // namespace pinfold::vmm
