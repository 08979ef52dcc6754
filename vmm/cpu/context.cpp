// VCPUOP_initialise: sets a vCPU's first state, which another vCPU of the domain describes
// (vcpu_guest_context, xen/arch-x86/xen.h).
#include <cstdint>

#include <xen/xen.h>

#include <algorithm>

#include "pvmmu/descriptor.hpp"
#include "vmm/domain.hpp"

namespace pinfold::vmm {
namespace {

using Context = ::vcpu_guest_context;

bool addresses_are_canonical(const Context& c) {
  const std::array<std::uint64_t, 10> addresses{
      c.user_regs.rip,         c.user_regs.rsp,        c.kernel_sp, c.ldt_base,       c.event_callback_eip,
      c.failsafe_callback_eip, c.syscall_callback_eip, c.fs_base,   c.gs_base_kernel, c.gs_base_user};
  return std::ranges::all_of(addresses, [](std::uint64_t a) { return is_canonical(a); }) &&
         std::ranges::all_of(c.trap_ctxt, [](const trap_info& t) { return is_canonical(t.address); });
}

/// Checks everything that needs no look at a frame.
bool acceptable(const Context& c) {
  constexpr std::size_t user_root = 1;
  const bool user_start_without_root = (c.flags & VGCF_in_kernel) == 0 && c.ctrlreg[user_root] == 0;
  const bool tables_fit = c.ldt_ents <= pvmmu::max_ldt_entries && c.ldt_base % page_size == 0 &&
                          (c.ldt_ents == 0 || !in_xen_range(c.ldt_base)) &&
                          c.gdt_ents <= pvmmu::first_reserved_gdt_entry;
  const bool debug_fits = c.debugreg[6] >> 32 == 0 && c.debugreg[7] >> 32 == 0 &&
                          std::ranges::all_of(std::span(c.debugreg).first(4), [](std::uint64_t a) {
                            return is_canonical(a) && !in_xen_range(a);
                          });
  return addresses_are_canonical(c) && !user_start_without_root && tables_fit && debug_fits;
}

Mfn root_of(std::uint64_t cr3) { return Mfn(cr3 >> page_shift); }

}  // namespace

Status GuestCpu::initialise(pvmmu::Held held, const Context& c) {
  if (!acceptable(c)) {
    unload_roots(held);
    return fail(Errno::einval);
  }
  if (auto held_frames = hold_initial_frames(held, c); !held_frames) return held_frames;

  const auto& r = c.user_regs;
  regs_.gpr = {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi,
               r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};
  regs_.rip = r.rip;
  regs_.rflags = (r.rflags & ~(rflags::iopl | rflags::vm)) | rflags::if_ | rflags::fixed;
  constexpr std::uint16_t rpl3 = 3;
  regs_.set_selectors(static_cast<std::uint16_t>(r.cs | rpl3), static_cast<std::uint16_t>(r.ss | rpl3));
  state_.iopl = static_cast<std::uint8_t>(r.rflags >> 12 & 3);
  state_.kernel_mode = (c.flags & VGCF_in_kernel) != 0;
  EntryPoints& points = traps_.entry_points();
  points.kernel_sp = c.kernel_sp;
  points.kernel_ss = static_cast<std::uint16_t>(c.kernel_ss | rpl3);
  for (std::size_t i = 0; i < points.traps.size(); ++i) {
    const trap_info& t = c.trap_ctxt[i];
    points.traps[i] = Trap{t.address, static_cast<std::uint16_t>(t.cs | rpl3),
                           static_cast<std::uint8_t>(t.flags & 3), (t.flags & 4) != 0};
  }
  points.changed = true;
  points.event = Callback{c.event_callback_eip, true};
  points.failsafe = Callback{c.failsafe_callback_eip, (c.flags & VGCF_failsafe_disables_events) != 0};
  points.syscall = Callback{c.syscall_callback_eip, (c.flags & VGCF_syscall_disables_events) != 0};
  if (state_.kernel_mode)
    bases_.set_all(c.fs_base, c.gs_base_kernel, c.gs_base_user);
  else
    bases_.set_all(c.fs_base, c.gs_base_user, c.gs_base_kernel);
  state_.set_cr4(c.ctrlreg[4], domain_.config().host.fsgsbase);
  const bool port_breakpoints = (state_.cr4 & cr4::de) != 0;
  for (const unsigned n : {0U, 1U, 2U, 3U, 6U, 7U})
    (void)state_.debug.set(n, c.debugreg[n], port_breakpoints);
  if (c.ldt_ents != 0) (void)descriptors_.set_ldt(held, GuestVaddr(c.ldt_base), c.ldt_ents);
  publish_time(held);
  regs_.changed = true;
  state_.initialised = true;
  state_.up = (c.flags & VGCF_online) != 0;
  return {};
}

/// Takes roots and descriptor tables. The check of a big tree may be interrupted. What is loaded by then
/// stays for the call that goes on: otherwise the kernel root would be checked again for each piece of the
/// user root's check.
Status GuestCpu::hold_initial_frames(pvmmu::Held held, const Context& c) {
  constexpr std::size_t kernel_root = 3, user_root = 1;
  const bool has_user_root = c.ctrlreg[user_root] != 0;
  if (!has_user_root) domain_.mmu().unload_root(held, state_.user_root);
  pvmmu::Verdict<> loaded = load_kernel_root(held, root_of(c.ctrlreg[kernel_root]));
  if (loaded && has_user_root) loaded = load_user_root(held, root_of(c.ctrlreg[user_root]));
  if (!loaded && loaded.error().error() == Errno::erestart) return fail(Errno::erestart);
  // The GDT comes last because its check is never interrupted.
  std::array<Mfn, 14> frames;
  const std::size_t pages = (c.gdt_ents + pvmmu::entries_per_table - 1) / pvmmu::entries_per_table;
  for (std::size_t i = 0; i < pages; ++i) frames[i] = Mfn(c.gdt_frames[i]);
  if (loaded && descriptors_.set_gdt(held, std::span(frames).first(pages))) return {};
  unload_roots(held);
  return fail(Errno::einval);
}

}  // namespace pinfold::vmm
