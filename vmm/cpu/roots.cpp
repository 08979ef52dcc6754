// The roots of a vCPU's two modes. Every load goes through here (hypercalls, a store to CR3,
// VCPUOP_initialise, the domain's start), so that none of them can forget what belongs to it.
#include <fmt/format.h>

#include "vmm/domain.hpp"

namespace pinfold::vmm {

/// The translations of the old root are dropped, and so are the pages of the LDT that were found through it.
pvmmu::Verdict<> GuestCpu::load_kernel_root(pvmmu::Held held, Mfn root) {
  const auto loaded = domain_.mmu().load_root(held, state_.kernel_root, root);
  if (!loaded) return loaded;
  descriptors_.forget_ldt_pages(held);
  domain_.flushes().flush(id_, id_);
  return loaded;
}

/// Under VMASST_TYPE_m2p_strict a root that is loaded for user mode no longer shows the machine-to-phys table
/// (xen/xen.h).
pvmmu::Verdict<> GuestCpu::load_user_root(pvmmu::Held held, Mfn root) {
  pvmmu::Validator& mmu = domain_.mmu();
  const auto loaded = mmu.load_root(held, state_.user_root, root);
  if (!loaded || !domain_.assists().m2p_strict) return loaded;
  mmu.hide_machphys(held, root);
  if (mmu.take_flush_duty()) domain_.flushes().flush_all(id_);
  return loaded;
}

/// Only code that took the gate over says that it runs on anything but a checked L4 of the domain's.
void GuestCpu::settle_roots(pvmmu::Held held) {
  pvmmu::Validator& mmu = domain_.mmu();
  const auto [kernel, user] = gate_link_.roots();
  if (kernel != no_mfn && mmu.settle_root(held, state_.kernel_root, kernel) &&
      mmu.settle_root(held, state_.user_root, user))
    return;
  domain_.end(Ending::isolation_fault,
              fmt::format("vCPU {} says that it runs on the tables in frames {:#x} and {:#x}, which are no "
                          "roots of its domain's\n{}",
                          id_.raw(), kernel.raw(), user.raw(), describe(held)));
}

/// vCPUs in the guest need to know at once.
void GuestCpu::assists_changed(pvmmu::Held) {
  if (domain_.config().host.fast_paths) gate_link_.give_assists();
}

void GuestCpu::unload_roots(pvmmu::Held held) {
  domain_.mmu().unload_root(held, state_.user_root);
  domain_.mmu().unload_root(held, state_.kernel_root);
}

}  // namespace pinfold::vmm
