#include "vmm/cpu/mmu_trace.hpp"

#include <array>
#include <cstring>

#include "vmm/domain.hpp"

namespace pinfold::vmm {
namespace {

// The code behind the SYSCALL in a stub of the hypercall page, and in the function that Linux uses instead of
// it: it pops the two registers that SYSCALL destroys. The return address is above them on the stack.
constexpr std::array<std::byte, 3> pops{std::byte{0x41}, std::byte{0x5b},
                                        std::byte{0x59}};  // pop %r11; pop %rcx
constexpr std::uint64_t pushed_bytes = 16;

}  // namespace

GuestVaddr caller_of_hypercall(pvmmu::Held held, const pvmmu::Validator& mmu, Mfn kernel_root,
                               const Registers& registers) {
  // The byte at an address; null if nothing is mapped there, or if `size` bytes don't fit into the page.
  const auto at = [&](GuestVaddr va, std::size_t size) -> const std::byte* {
    const auto leaf = mmu.walk(held, kernel_root, va);
    const bool there = leaf && leaf->entry.present() && mmu.owns(leaf->entry.mfn());
    if (!there || offset_in_page(va) + size > page_size) return nullptr;
    return mmu.machine().page(leaf->entry.mfn().raw()) + offset_in_page(va);
  };
  const GuestVaddr rip(registers.rip);
  const std::byte* code = at(rip, pops.size());
  if (code == nullptr || std::memcmp(code, pops.data(), pops.size()) != 0) return rip;
  std::uint64_t address = 0;
  const std::byte* stack = at(GuestVaddr(registers[Gpr::rsp] + pushed_bytes), sizeof address);
  if (stack == nullptr) return rip;
  std::memcpy(&address, stack, sizeof address);
  return GuestVaddr(address);
}

void GuestCpu::trace_entered_now(pvmmu::Held held, std::uint64_t cause) {
  const bool hypercall = cause < pvmmu::cause_exception;
  const GuestVaddr asked_from =
      hypercall ? caller_of_hypercall(held, domain_.mmu(), state_.kernel_root, regs_) : GuestVaddr(regs_.rip);
  domain_.trace()->vcpu_entered(id_, asked_from, cause);
}

}  // namespace pinfold::vmm
