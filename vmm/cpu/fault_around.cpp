// A shadowing KVM fills its copy of a page-table entry when the guest first touches the page, each fill an
// interruption. It fills the neighbours with it if the host has them there already; so the first touch of a
// part of memory brings the whole part in.
#include "vmm/domain.hpp"
#include "vmm/emulate/accesses.hpp"

namespace pinfold::vmm {

/// The instruction that the guest stopped at is the one whose page was filled: its own, or one that it
/// touches.
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
