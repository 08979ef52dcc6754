// Where KVM shadows page tables, it fills its copy of an entry when the guest first touches the page, and
// each fill is an interruption. KVM also fills the neighbours if the host has mapped them already. So the
// first touch of a part of memory maps the whole part.
#include "vmm/domain.hpp"
#include "vmm/emulate/accesses.hpp"

namespace pinfold::vmm {

/// The page that was filled is that of the instruction at which the guest stopped, or one that this
/// instruction accesses.
void GuestCpu::fault_around(pvmmu::Held held) {
  const auto bring_in = [&](std::uint64_t address) {
    const auto leaf = domain_.mmu().walk(held, root(), GuestVaddr(address));
    if (leaf && leaf->entry.present() && domain_.mmu().owns(leaf->entry.mfn()))
      domain_.view().fault_around(leaf->entry.mfn());
  };
  bring_in(regs_.rip);
  const auto& decoded =
      decode_again(instruction(held), is_64bit_code(held, regs_.cs) ? CodeWidth::bits64 : CodeWidth::bits32);
  if (!decoded) return;
  const MemoryAccesses accesses(*decoded, regs_, SegmentBases{bases_.fs(), bases_.active_gs()});
  for (const MemoryAccess& access : accesses.all()) bring_in(access.address);
}

}  // namespace pinfold::vmm
