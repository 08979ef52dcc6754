// What the guest can ask about its hypervisor, and operations that only a privileged domain has.
#include <cstdint>

#include <xen/features.h>
#include <xen/physdev.h>
#include <xen/version.h>
#include <xen/xen.h>

#include <bit>

#include "vmm/domain.hpp"
#include "vmm/hypercalls/hypercalls.hpp"

namespace pinfold::vmm::hypercalls {
namespace {

constexpr std::uint32_t features =
    1U << XENFEAT_mmu_pt_update_preserve_ad | 1U << XENFEAT_gnttab_map_avail_bits;

/// Stores a text of fixed size; the bytes behind the text are zero (XSA-122).
template <std::size_t size>
std::int64_t store_text(Hypercall& call, std::string_view text) {
  std::array<char, size> field{};
  text.copy(field.data(), size - 1);
  return to_rax(call.memory.store(call.pointer(1), field));
}

std::int64_t xen_version(Domain& domain, Hypercall& call) {
  switch (call.args[0]) {
    case XENVER_version: return version;
    case XENVER_extraversion: return store_text<sizeof(xen_extraversion_t)>(call, ".0-pinfold");
    case XENVER_compile_info: {
      xen_compile_info info{};
      std::string_view("pinfold").copy(info.compiler, sizeof info.compiler - 1);
      return to_rax(call.memory.store(call.pointer(1), info));
    }
    case XENVER_capabilities: return store_text<sizeof(xen_capabilities_info_t)>(call, "xen-3.0-x86_64");
    case XENVER_changeset: return store_text<sizeof(xen_changeset_info_t)>(call, "unavailable");
    case XENVER_platform_parameters:
      return to_rax(call.memory.store<std::uint64_t>(call.pointer(1), domain.gate().machphys_address()));
    case XENVER_get_features: {
      const auto request = call.memory.fetch<xen_feature_info>(call.pointer(1));
      if (!request) return to_rax(Errno::efault);
      if (request->submap_idx != 0) return to_rax(Errno::einval);
      return to_rax(call.memory.store(call.pointer(1), xen_feature_info{0, features}));
    }
    case XENVER_pagesize:
      return call.args[1] == 0 ? static_cast<std::int64_t>(page_size) : to_rax(Errno::einval);
    case XENVER_guest_handle: {
      static_assert(sizeof(xen_domain_handle_t) == sizeof(Uuid::bytes));
      return to_rax(call.memory.store(call.pointer(1), domain.config().uuid.bytes));
    }
    case XENVER_commandline: return store_text<sizeof(xen_commandline_t)>(call, "");
    case XENVER_build_id: return to_rax(Errno::enodata);
    default: return to_rax(Errno::enosys);
  }
}

std::int64_t vm_assist(Domain& domain, Hypercall& call) {
  const bool on = call.args[0] == VMASST_CMD_enable;
  if (!on && call.args[0] != VMASST_CMD_disable) return to_rax(Errno::enosys);
  Assists& assists = domain.assists();
  switch (call.args[1]) {
    case VMASST_TYPE_4gb_segments:
    case VMASST_TYPE_4gb_segments_notify:
    case VMASST_TYPE_pae_extended_cr3: return 0;  // 64-bit guests may ask; nothing follows from it
    case VMASST_TYPE_writable_pagetables: assists.writable_page_tables = on; break;
    case VMASST_TYPE_architectural_iopl: assists.architectural_iopl = on; break;
    case VMASST_TYPE_runstate_update_flag: assists.run_state_update_flag = on; break;
    case VMASST_TYPE_m2p_strict: assists.m2p_strict = on; break;
    default: return to_rax(Errno::einval);
  }
  for (std::uint32_t i = 0; i < domain.vcpu_count(); ++i) domain.cpu(VcpuId(i)).assists_changed(*call.held);
  return 0;
}

std::int64_t physdev_op(Domain& domain, Hypercall& call) {
  CpuState& state = domain.cpu(call.vcpu).state();
  switch (call.args[0]) {
    case PHYSDEVOP_set_iopl: {
      const auto request = call.memory.fetch<physdev_set_iopl>(call.pointer(1));
      if (!request) return to_rax(Errno::efault);
      if (request->iopl > 3) return to_rax(Errno::einval);
      state.iopl = static_cast<std::uint8_t>(request->iopl);
      return 0;
    }
    case PHYSDEVOP_set_iobitmap: {
      const auto request = call.memory.fetch<physdev_set_iobitmap>(call.pointer(1));
      if (!request) return to_rax(Errno::efault);
      const std::uint64_t bitmap = std::bit_cast<std::uint64_t>(request->bitmap.p);
      if (request->nr_ports > 65536 || (request->nr_ports != 0 && !is_canonical(bitmap)))
        return to_rax(Errno::einval);
      state.io_bitmap = GuestVaddr(bitmap);
      state.io_bitmap_ports = request->nr_ports;
      return 0;
    }
    case PHYSDEVOP_eoi:
    case PHYSDEVOP_irq_status_query:
    case PHYSDEVOP_apic_read:
    case PHYSDEVOP_apic_write: return to_rax(Errno::eperm);
    default: return to_rax(Errno::enosys);
  }
}

}  // namespace

void register_platform(Domain& domain) {
  HypercallTable& table = domain.hypercalls();
  table.set(__HYPERVISOR_xen_version, "xen_version",
            [&domain](Hypercall& call) { return xen_version(domain, call); });
  table.set(__HYPERVISOR_vm_assist, "vm_assist",
            [&domain](Hypercall& call) { return vm_assist(domain, call); });
  table.set(__HYPERVISOR_physdev_op, "physdev_op",
            [&domain](Hypercall& call) { return physdev_op(domain, call); });
  const auto not_permitted = [](Hypercall&) { return to_rax(Errno::eperm); };
  table.set(__HYPERVISOR_platform_op, "platform_op", not_permitted);
  table.set(__HYPERVISOR_sysctl, "sysctl", not_permitted);
  table.set(__HYPERVISOR_domctl, "domctl", not_permitted);
  table.set(__HYPERVISOR_arch_0, "mca", not_permitted);
}

}  // namespace pinfold::vmm::hypercalls
