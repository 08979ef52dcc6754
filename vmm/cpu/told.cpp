// What whoever watches the MMU is told of a vCPU: when it asks for something, from where, and whose
// translations go.
#include "vmm/domain.hpp"

namespace pinfold::vmm {
namespace {

// A stub of the hypercall page: where RIP is after its SYSCALL, and the return address behind what it pushed.
constexpr std::uint64_t stub_size = 32, after_syscall = 10;
constexpr std::uint64_t pushed_bytes = 16;

}  // namespace

void GuestCpu::tell_watcher(pvmmu::Held held, std::uint64_t cause) {
  const bool hypercall = cause < pvmmu::cause_exception;
  domain_.trace()->vcpu_entered(id_, hypercall ? caller(held) : GuestVaddr(regs_.rip), cause);
}

/// Who called the hypercall page, if that is where RIP is. The stack is looked at without a mark on it:
/// watching changes nothing.
GuestVaddr GuestCpu::caller(pvmmu::Held held) {
  const GuestVaddr rip(regs_.rip);
  const bool in_page = rip.raw() % stub_size == after_syscall &&
                       offset_in_page(rip) / stub_size == (regs_[Gpr::rax] & 0xffffffff);
  const GuestVaddr at(regs_[Gpr::rsp] + pushed_bytes);
  if (!in_page || at.raw() % sizeof(std::uint64_t) != 0) return rip;
  const pvmmu::Validator& mmu = domain_.mmu();
  const auto leaf = mmu.walk(held, state_.kernel_root, at);
  if (!leaf || !leaf->entry.present() || !mmu.owns(leaf->entry.mfn())) return rip;
  return GuestVaddr(mmu.machine().load(leaf->entry.mfn().raw(), offset_in_page(at) / sizeof(std::uint64_t)));
}

void GuestCpu::tell_flushed(std::uint64_t vcpu) {
  pvmmu::TraceEvent event;
  event.kind = pvmmu::TraceKind::flushed;
  event.argument = vcpu;
  domain_.trace()->event(event);
}

}  // namespace pinfold::vmm
