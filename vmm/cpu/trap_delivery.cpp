#include "vmm/cpu/trap_delivery.hpp"

#include <fmt/format.h>

#include "vmm/emulate/forced_emulation.hpp"
#include "vmm/vectors.hpp"

namespace pinfold::vmm {
namespace {

constexpr std::uint16_t rpl3 = 3;
constexpr std::uint64_t vgcf_in_syscall = 1U << 8;  // xen/arch-x86/xen.h: _VGCF_in_syscall, iret's flags word
constexpr std::uint8_t vector_ud = 6, vector_gp = 13, vector_pf = 14;
/// Error codes that name a descriptor (Intel SDM vol. 3, 6.13): bit 1 says that it was the IDT's.
constexpr std::uint64_t error_idt = 2;

/// struct iret_context (xen/arch-x86/xen-x86_64.h).
struct IretFrame {
  std::uint64_t rax, r11, rcx, flags, rip, cs, rflags, rsp, ss;
};

}  // namespace

void EntryPoints::set_nmi_handler(std::uint64_t address) {
  traps[vector::nmi] = address == 0 ? Trap{} : Trap{address, gate::code64, 0, true};
  changed = true;
}

void TrapDelivery::toggle_mode() {
  parts_.bases.swap_gs();
  parts_.state.kernel_mode = !parts_.state.kernel_mode;
}

TrapDelivery::Failure TrapDelivery::enter(const Guest& guest, const Handler& handler,
                                          std::optional<std::uint64_t> error_code) {
  GuestRegisters& r = parts_.registers;
  const bool from_user = !parts_.state.kernel_mode;
  const bool masked = guest.info.upcall_mask();
  const std::uint64_t old_cs = from_user ? r.cs : r.cs & ~rpl3;
  const std::uint64_t stack = (from_user ? entry_points_.kernel_sp : r[Gpr::rsp]) & ~0xfULL;

  std::uint64_t flags = r.rflags & ~(rflags::if_ | rflags::iopl);
  if (!masked) flags |= rflags::if_;
  if (parts_.assists.architectural_iopl) flags |= std::uint64_t{parts_.state.iopl} << 12;

  std::array<std::uint64_t, 8> frame{};
  std::size_t words = 0;
  frame[words++] = r[Gpr::rcx];
  frame[words++] = r[Gpr::r11];
  if (error_code) frame[words++] = *error_code;
  frame[words++] = r.rip;
  frame[words++] = old_cs | (std::uint64_t{masked ? 1U : 0U} << 32);
  frame[words++] = flags;
  frame[words++] = r[Gpr::rsp];
  frame[words++] = r.ss;

  if (from_user) toggle_mode();
  const std::uint64_t top = stack - words * sizeof(std::uint64_t);
  if (!guest.kernel.write(GuestVaddr(top), std::as_bytes(std::span(frame.data(), words))))
    return fmt::format("the guest kernel's stack at {:#x} can't take an exception frame", top);
  if (handler.masks_events) guest.info.set_upcall_mask(true);
  r[Gpr::rsp] = top;
  r.rip = handler.address;
  r.rflags &= ~(rflags::tf | rflags::vm | rflags::rf | rflags::nt | rflags::ac);
  r[Gpr::rcx] = r.rip;
  r[Gpr::r11] = r.rflags;
  r.set_selectors(gate::code64, gate::data3);
  r.changed = true;
  return std::nullopt;
}

TrapDelivery::Failure TrapDelivery::deliver(const Guest& guest, const GuestException& exception) {
  const Trap& trap = entry_points_.traps[exception.vector];
  if (trap.address == 0)
    return fmt::format(
        "the guest took exception {} (error code {:#x}, address {:#x}) and has no handler for it",
        exception.vector, exception.error_code, exception.address);
  std::optional<std::uint64_t> error_code;
  if (vector::has_error_code(exception.vector)) error_code = exception.error_code;
  if (exception.vector == vector_pf) guest.info.set_cr2(exception.address);
  return enter(guest, Handler{trap.address, trap.masks_events}, error_code);
}

TrapDelivery::Failure TrapDelivery::deliver_event(const Guest& guest) {
  return enter(guest, Handler{entry_points_.event.address, true}, std::nullopt);
}

TrapDelivery::Failure TrapDelivery::deliver_nmi(const Guest& guest) {
  if (entry_points_.traps[vector::nmi].address == 0) {
    parts_.state.nmi.drop();
    return std::nullopt;
  }
  parts_.state.nmi.begin();
  return deliver(guest, GuestException{vector::nmi, 0, 0});
}

TrapDelivery::Failure TrapDelivery::deliver_syscall(const Guest& guest) {
  GuestRegisters& r = parts_.registers;
  const bool compat = r.cs == gate::code32;
  const Callback& callback = compat ? entry_points_.syscall32 : entry_points_.syscall;
  if (callback.address == 0) {
    constexpr std::uint64_t syscall_length = 2;
    r.rip -= syscall_length;
    return deliver(guest, GuestException{vector_ud, 0, 0});
  }
  // What a SYSCALL leaves of the selectors is a guess on real Xen, too; kernels overwrite it.
  r.set_selectors(compat ? gate::code32 : gate::code64, gate::data3);
  if (auto failure = enter(guest, Handler{callback.address, callback.masks_events}, std::nullopt))
    return failure;
  r.rflags &= ~rflags::df;
  return std::nullopt;
}

TrapDelivery::Failure TrapDelivery::software_interrupt(const Guest& guest, std::uint8_t vector) {
  const Trap& trap = entry_points_.traps[vector];
  const bool allowed = trap.address != 0 && (parts_.state.kernel_mode ? trap.dpl >= 1 : trap.dpl == 3);
  if (!allowed) return deliver(guest, GuestException{vector_gp, (std::uint64_t{vector} << 3) | error_idt, 0});
  parts_.registers.rip += int_n_length;
  return enter(guest, Handler{trap.address, trap.masks_events}, std::nullopt);
}

TrapDelivery::Failure TrapDelivery::iret(const Guest& guest) {
  GuestRegisters& r = parts_.registers;
  const auto frame = guest.kernel.fetch<IretFrame>(GuestVaddr(r[Gpr::rsp]));
  if (!frame) return "the guest's iret frame can't be read";
  if ((frame->cs & rpl3) == rpl3) {
    if (parts_.state.user_root == no_mfn) return "the guest returned to user mode without a user page table";
    toggle_mode();
  }
  r[Gpr::rax] = frame->rax;
  r.rip = frame->rip;
  r[Gpr::rsp] = frame->rsp;
  r.set_selectors(static_cast<std::uint16_t>(frame->cs | rpl3), static_cast<std::uint16_t>(frame->ss | rpl3));
  if (parts_.assists.architectural_iopl)
    parts_.state.iopl = static_cast<std::uint8_t>(frame->rflags >> 12 & 3);
  r.rflags = (frame->rflags & ~(rflags::iopl | rflags::vm)) | rflags::if_;
  if ((frame->flags & vgcf_in_syscall) == 0) {
    r[Gpr::r11] = frame->r11;
    r[Gpr::rcx] = frame->rcx;
  } else {
    r[Gpr::rcx] = r.rip;
    r[Gpr::r11] = r.rflags;
  }
  guest.info.set_upcall_mask((frame->rflags & rflags::if_) == 0);
  parts_.state.nmi.unmask();
  r.changed = true;
  if (!is_canonical(r.rip)) return deliver(guest, GuestException{vector_gp, 0, 0});
  // With this flag Xen returns by SYSRET.
  parts_.state.step_due = (frame->flags & vgcf_in_syscall) != 0 && (r.rflags & rflags::tf) != 0;
  return std::nullopt;
}

}  // namespace pinfold::vmm
