// How the guest kernel is entered, left and addressed: traps, callbacks, iret, stacks, segment bases, debug
// registers.
#include <cstdint>

#include <xen/callback.h>
#include <xen/nmi.h>
#include <xen/xen.h>

#include "vmm/cpu/segments.hpp"
#include "vmm/domain.hpp"
#include "vmm/hypercalls/hypercalls.hpp"

namespace pinfold::vmm::hypercalls {
namespace {

std::int64_t set_trap_table(Domain& domain, Hypercall& call) {
  EntryPoints& points = domain.cpu(call.vcpu).entry_points();
  points.changed = true;
  if (call.args[0] == 0) {
    points.traps.fill(Trap{});
    return 0;
  }
  for (std::size_t i = 0; i <= points.traps.size(); ++i) {
    call.spend(1);
    const auto info = call.memory.fetch<trap_info_t>(call.pointer(0).plus(i * sizeof(trap_info_t)));
    if (!info) return to_rax(Errno::efault);
    if (info->address == 0) return 0;
    if (!is_canonical(info->address)) return to_rax(Errno::einval);
    points.traps[info->vector] = Trap{info->address, static_cast<std::uint16_t>(info->cs | 3),
                                      static_cast<std::uint8_t>(info->flags & 3), (info->flags & 4) != 0};
  }
  return to_rax(Errno::einval);  // longer than there are vectors, and no end in sight
}

Callback* callback_of(EntryPoints& points, std::uint16_t type) {
  switch (type) {
    case CALLBACKTYPE_event: return &points.event;
    case CALLBACKTYPE_failsafe: return &points.failsafe;
    case CALLBACKTYPE_syscall: return &points.syscall;
    case CALLBACKTYPE_syscall32: return &points.syscall32;
    case CALLBACKTYPE_sysenter_deprecated:
    case CALLBACKTYPE_sysenter: return &points.sysenter;
    default: return nullptr;
  }
}

std::int64_t callback_op(Domain& domain, Hypercall& call) {
  EntryPoints& points = domain.cpu(call.vcpu).entry_points();
  if (call.args[0] == CALLBACKOP_register) {
    const auto request = call.memory.fetch<callback_register>(call.pointer(1));
    if (!request) return to_rax(Errno::efault);
    if (!is_canonical(request->address)) return to_rax(Errno::einval);
    if (request->type == CALLBACKTYPE_nmi) {
      points.set_nmi_handler(request->address);
      return 0;
    }
    Callback* callback = callback_of(points, request->type);
    if (callback == nullptr) return to_rax(Errno::enosys);
    *callback = Callback{request->address, (request->flags & CALLBACKF_mask_events) != 0};
    points.changed = true;
    return 0;
  }
  if (call.args[0] == CALLBACKOP_unregister) {
    const auto request = call.memory.fetch<callback_unregister>(call.pointer(1));
    if (!request) return to_rax(Errno::efault);
    if (request->type == CALLBACKTYPE_nmi) {
      points.set_nmi_handler(0);
      return 0;
    }
    return to_rax(callback_of(points, request->type) != nullptr ? Errno::einval : Errno::enosys);
  }
  return to_rax(Errno::enosys);
}

std::int64_t set_callbacks(Domain& domain, Hypercall& call) {
  EntryPoints& points = domain.cpu(call.vcpu).entry_points();
  const std::array<Callback*, 3> callbacks{&points.event, &points.failsafe, &points.syscall};
  for (std::size_t i = 0; i < callbacks.size(); ++i)
    if (is_canonical(call.args[i])) callbacks[i]->address = call.args[i];
  points.changed = true;
  return 0;
}

std::int64_t set_segment_base(Domain& domain, Hypercall& call) {
  GuestCpu& cpu = domain.cpu(call.vcpu);
  const std::uint64_t base = call.args[1];
  if (call.args[0] == SEGBASE_GS_USER_SEL) {
    // As on Xen, a selector that can't be loaded is no error: the null selector is loaded instead.
    const auto selector = static_cast<std::uint16_t>(base | 3);
    const std::uint64_t named =
        (selector & ~3U) == 0 ? 0 : cpu.descriptors().descriptor(*call.held, selector);
    kvm_segment loaded = data_segment(selector, named);
    cpu.bases().set_inactive_gs(loaded.unusable != 0 ? 0 : base_of_descriptor(named));
    // There is one GS register: load the user selector now, so that the kernel can read it back. The base
    // stays the kernel's.
    kvm_segment& gs = cpu.vcpu().sregs().gs;
    loaded.base = gs.base;
    gs = loaded;
    cpu.vcpu().mark_sregs_dirty();
    return 0;
  }
  if (!is_canonical(base)) return to_rax(Errno::einval);
  switch (call.args[0]) {
    case SEGBASE_FS: cpu.bases().set_fs(base); return 0;
    // The caller is the kernel, so the active GS is the kernel's own.
    case SEGBASE_GS_USER: cpu.bases().set_inactive_gs(base); return 0;
    case SEGBASE_GS_KERNEL: cpu.bases().set_active_gs(base); return 0;
    default: return to_rax(Errno::einval);
  }
}

/// 4 and 5 are names of 6 and 7, unless CR4.DE is set. Nothing: there is no such register.
std::optional<unsigned> debug_register(const CpuState& state, std::uint64_t n) {
  if (n > 7) return std::nullopt;
  if (n != 4 && n != 5) return static_cast<unsigned>(n);
  if ((state.cr4 & cr4::de) != 0) return std::nullopt;
  return static_cast<unsigned>(n + 2);
}

std::int64_t get_debugreg(Domain& domain, Hypercall& call) {
  const CpuState& state = domain.cpu(call.vcpu).state();
  const auto n = debug_register(state, call.args[0]);
  return n ? static_cast<std::int64_t>(state.debug.get(*n)) : to_rax(Errno::enodev);
}

std::int64_t set_debugreg(Domain& domain, Hypercall& call) {
  CpuState& state = domain.cpu(call.vcpu).state();
  const auto n = debug_register(state, call.args[0]);
  return n ? to_rax(state.debug.set(*n, call.args[1], (state.cr4 & cr4::de) != 0)) : to_rax(Errno::enodev);
}

std::int64_t nmi_op(Domain& domain, Hypercall& call) {
  EntryPoints& points = domain.cpu(call.vcpu).entry_points();
  if (call.args[0] == XENNMI_unregister_callback) {
    points.set_nmi_handler(0);
    return 0;
  }
  if (call.args[0] != XENNMI_register_callback) return to_rax(Errno::enosys);
  const auto request = call.memory.fetch<xennmi_callback>(call.pointer(1));
  if (!request) return to_rax(Errno::efault);
  if (!is_canonical(request->handler_address)) return to_rax(Errno::einval);
  points.set_nmi_handler(request->handler_address);
  return 0;
}

}  // namespace

void register_traps(Domain& domain) {
  HypercallTable& table = domain.hypercalls();
  const auto set = [&](std::uint64_t number, const char* name, auto function) {
    table.set(number, name,
              [&domain, function](Hypercall& call) -> std::int64_t { return function(domain, call); });
  };
  set(__HYPERVISOR_set_trap_table, "set_trap_table", set_trap_table);
  set(__HYPERVISOR_callback_op, "callback_op", callback_op);
  set(__HYPERVISOR_set_callbacks, "set_callbacks", set_callbacks);
  set(__HYPERVISOR_set_segment_base, "set_segment_base", set_segment_base);
  set(__HYPERVISOR_get_debugreg, "get_debugreg", get_debugreg);
  set(__HYPERVISOR_nmi_op, "nmi_op", nmi_op);
  set(__HYPERVISOR_set_debugreg, "set_debugreg", set_debugreg);
  set(__HYPERVISOR_stack_switch, "stack_switch", [](Domain& d, Hypercall& call) -> std::int64_t {
    d.cpu(call.vcpu).entry_points().kernel_ss = static_cast<std::uint16_t>(call.args[0] | 3);
    d.cpu(call.vcpu).entry_points().kernel_sp = call.args[1];
    return 0;
  });
  set(__HYPERVISOR_fpu_taskswitch, "fpu_taskswitch", [](Domain& d, Hypercall& call) -> std::int64_t {
    d.cpu(call.vcpu).state().task_switched = call.args[0] != 0;
    return 0;
  });
  set(__HYPERVISOR_iret, "iret", [](Domain& d, Hypercall& call) -> std::int64_t {
    call.completion = Completion::registers_set;
    d.cpu(call.vcpu).iret(*call.held);
    return 0;
  });
}

}  // namespace pinfold::vmm::hypercalls
