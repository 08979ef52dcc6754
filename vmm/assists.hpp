// What a guest may switch on by vm_assist (xen/xen.h).
#pragma once

namespace pinfold::vmm {

/// Guarded by the domain's lock.
struct Assists {
  bool writable_page_tables = false;   ///< VMASST_TYPE_writable_pagetables
  bool architectural_iopl = false;     ///< VMASST_TYPE_architectural_iopl
  bool m2p_strict = false;             ///< VMASST_TYPE_m2p_strict
  bool run_state_update_flag = false;  ///< VMASST_TYPE_runstate_update_flag
};

}  // namespace pinfold::vmm
