// Frames on the guest kernel's stack: how exceptions, events and system calls enter the guest kernel, and how
// it returns. The layouts are the ABI's (xen/arch-x86/xen-x86_64.h: struct iret_context; xen/arch-x86/xen.h:
// trap_info, callbacks).
#include <fmt/format.h>

#include "vmm/domain.hpp"
#include "vmm/vcpu_info.hpp"
#include "vmm/vectors.hpp"

namespace pinfold::vmm {
namespace {

constexpr std::uint16_t rpl3 = 3;
constexpr std::uint64_t vgcf_in_syscall = 1U << 8;  // xen/arch-x86/xen.h: _VGCF_in_syscall, iret's flags word

}  // namespace

/// The other mode: its root and its GS base.
void GuestCpu::toggle_mode() {
  bases_.swap_gs();
  state_.kernel_mode = !state_.kernel_mode;
}

void GuestCpu::bounce(pvmmu::Held held, const Handler& handler, std::optional<std::uint64_t> error_code) {
  const VcpuInfo info = domain_.info_of(id_);
  const bool from_user = !state_.kernel_mode;
  const bool masked = info.upcall_mask();
  const std::uint64_t old_cs = from_user ? cs_ : cs_ & ~rpl3;
  const std::uint64_t stack = (from_user ? state_.kernel_sp : regs_[Gpr::rsp]) & ~0xfULL;

  std::uint64_t flags = regs_.rflags & ~(rflags::if_ | rflags::iopl);
  if (!masked) flags |= rflags::if_;
  if (domain_.architectural_iopl) flags |= std::uint64_t{state_.iopl} << 12;

  std::array<std::uint64_t, 8> frame{};
  std::size_t words = 0;
  frame[words++] = regs_[Gpr::rcx];
  frame[words++] = regs_[Gpr::r11];
  if (error_code) frame[words++] = *error_code;
  frame[words++] = regs_.rip;
  frame[words++] = old_cs | (std::uint64_t{masked ? 1U : 0U} << 32);
  frame[words++] = flags;
  frame[words++] = regs_[Gpr::rsp];
  frame[words++] = ss_;

  if (from_user) toggle_mode();
  const std::uint64_t top = stack - words * sizeof(std::uint64_t);
  auto memory = kernel_memory(held);
  if (!memory.write(GuestVaddr(top), std::as_bytes(std::span(frame.data(), words)))) {
    domain_.end(Ending::crash,
                fmt::format("the guest kernel's stack at {:#x} can't take an exception frame\n{}", top,
                            describe(held)));
    return;
  }
  if (handler.masks_events) info.set_upcall_mask(true);
  regs_[Gpr::rsp] = top;
  regs_.rip = handler.address;
  regs_.rflags &= ~(rflags::tf | rflags::vm | rflags::rf | rflags::nt | rflags::ac);
  regs_[Gpr::rcx] = regs_.rip;
  regs_[Gpr::r11] = regs_.rflags;
  cs_ = handler.cs | rpl3;
  ss_ = gate::data3;
  registers_changed_ = true;
}

void GuestCpu::deliver(pvmmu::Held held, const GuestException& exception) {
  const Trap& trap = state_.traps[exception.vector];
  if (trap.address == 0) {
    domain_.end(
        Ending::crash,
        fmt::format(
            "the guest took exception {} (error code {:#x}, address {:#x}) and has no handler for it\n{}",
            exception.vector, exception.error_code, exception.address, describe(held)));
    return;
  }
  std::optional<std::uint64_t> error_code;
  if (vector::has_error_code(exception.vector)) error_code = exception.error_code;
  if (exception.vector == 14) domain_.info_of(id_).set_cr2(exception.address);
  bounce(held, Handler{trap.address, gate::code64, trap.masks_events}, error_code);
}

void GuestCpu::deliver_callback(pvmmu::Held held, const Callback& callback) {
  bounce(held, Handler{callback.address, gate::code64, callback.masks_events}, std::nullopt);
}

void GuestCpu::deliver_event(pvmmu::Held held) {
  ++domain_.statistics().events;
  bounce(held, Handler{state_.event.address, gate::code64, true}, std::nullopt);
}

void GuestCpu::deliver_syscall(pvmmu::Held held) {
  const bool compat = cs_ == gate::code32;
  const Callback& callback = compat ? state_.syscall32 : state_.syscall;
  if (callback.address == 0) {
    regs_.rip -= 2;
    deliver(held, GuestException{6, 0, 0});
    return;
  }
  // What a SYSCALL leaves of the selectors is a guess on real Xen, too; kernels overwrite it.
  cs_ = compat ? gate::code32 : gate::code64;
  ss_ = gate::data3;
  deliver_callback(held, callback);
  regs_.rflags &= ~rflags::df;
}

void GuestCpu::iret(pvmmu::Held held) {
  struct Frame {
    std::uint64_t rax, r11, rcx, flags, rip, cs, rflags, rsp, ss;
  };
  auto memory = kernel_memory(held);
  const auto frame = memory.fetch<Frame>(GuestVaddr(regs_[Gpr::rsp]));
  if (!frame) {
    domain_.end(Ending::crash, "the guest's iret frame can't be read\n" + describe(held));
    return;
  }
  if ((frame->cs & rpl3) == rpl3) {
    if (state_.user_root == no_mfn) {
      domain_.end(Ending::crash,
                  "the guest returned to user mode without a user page table\n" + describe(held));
      return;
    }
    toggle_mode();
  }
  const VcpuInfo info = domain_.info_of(id_);
  regs_[Gpr::rax] = frame->rax;
  regs_.rip = frame->rip;
  regs_[Gpr::rsp] = frame->rsp;
  cs_ = static_cast<std::uint16_t>(frame->cs | rpl3);
  ss_ = static_cast<std::uint16_t>(frame->ss | rpl3);
  if (domain_.architectural_iopl) state_.iopl = static_cast<std::uint8_t>(frame->rflags >> 12 & 3);
  regs_.rflags = (frame->rflags & ~(rflags::iopl | rflags::vm)) | rflags::if_;
  if ((frame->flags & vgcf_in_syscall) == 0) {
    regs_[Gpr::r11] = frame->r11;
    regs_[Gpr::rcx] = frame->rcx;
  } else {
    regs_[Gpr::rcx] = regs_.rip;
    regs_[Gpr::r11] = regs_.rflags;
  }
  info.set_upcall_mask((frame->rflags & rflags::if_) == 0);
  registers_changed_ = true;
  if (!is_canonical(regs_.rip)) deliver(held, GuestException{13, 0, 0});
}

}  // namespace pinfold::vmm
