// What whoever watches the MMU is told of a vCPU: when it asks for something, from where, and whose
// translations go.
#include <array>
#include <cstring>

#include "vmm/domain.hpp"

namespace pinfold::vmm {
namespace {

// What follows the SYSCALL in a stub of the hypercall page, and in the function of Linux's own that has taken
// its place: the two registers that SYSCALL destroys come back from the stack. Behind them is the return
// address.
constexpr std::array<std::byte, 3> pops{std::byte{0x41}, std::byte{0x5b},
                                        std::byte{0x59}};  // pop %r11; pop %rcx
constexpr std::uint64_t pushed_bytes = 16;

}  // namespace

void GuestCpu::trace_entered_now(pvmmu::Held held, std::uint64_t cause) {
  const bool hypercall = cause < pvmmu::cause_exception;
  domain_.trace()->vcpu_entered(id_, hypercall ? caller(held) : GuestVaddr(regs_.rip), cause);
}

/// Who called the hypercall page, if that is where RIP is. Code and stack are looked at without a mark on
/// them: watching changes nothing.
GuestVaddr GuestCpu::caller(pvmmu::Held held) {
  const pvmmu::Validator& mmu = domain_.mmu();
  // Where a byte lies in the monitor; null where nothing is mapped, or where `size` bytes don't fit into the
  // page.
  const auto at = [&](GuestVaddr va, std::size_t size) -> const std::byte* {
    const auto leaf = mmu.walk(held, state_.kernel_root, va);
    const bool there = leaf && leaf->entry.present() && mmu.owns(leaf->entry.mfn());
    if (!there || offset_in_page(va) + size > page_size) return nullptr;
    return mmu.machine().page(leaf->entry.mfn().raw()) + offset_in_page(va);
  };
  const GuestVaddr rip(regs_.rip);
  const std::byte* code = at(rip, pops.size());
  if (code == nullptr || std::memcmp(code, pops.data(), pops.size()) != 0) return rip;
  std::uint64_t address = 0;
  const std::byte* stack = at(GuestVaddr(regs_[Gpr::rsp] + pushed_bytes), sizeof address);
  if (stack == nullptr) return rip;
  std::memcpy(&address, stack, sizeof address);
  return GuestVaddr(address);
}

}  // namespace pinfold::vmm
