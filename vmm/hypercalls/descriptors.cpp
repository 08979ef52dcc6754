// set_gdt and update_descriptor.
#include <array>
#include <cstdint>

#include <xen/xen.h>

#include "pvmmu/descriptor.hpp"
#include "vmm/domain.hpp"
#include "vmm/hypercalls/hypercalls.hpp"

namespace pinfold::vmm::hypercalls {

void register_descriptors(Domain& domain) {
  HypercallTable& table = domain.hypercalls();
  table.set(__HYPERVISOR_set_gdt, "set_gdt", [&domain](Hypercall& call) -> std::int64_t {
    const std::uint64_t entries = call.args[1] & 0xffffffff;  // of 32 bits in the ABI
    if (entries > pvmmu::first_reserved_gdt_entry) return to_rax(Errno::einval);
    const std::size_t pages = (entries + pvmmu::entries_per_table - 1) / pvmmu::entries_per_table;
    // The pages of the old GDT are released, and those of the new one are copied.
    call.spend((pages + domain.cpu(call.vcpu).descriptors().gdt_frames().size()) * pvmmu::whole_table);
    std::array<Mfn, 14> frames;
    for (std::size_t i = 0; i < pages; ++i) {
      const auto mfn = call.memory.fetch<std::uint64_t>(call.pointer(0).plus(i * sizeof(std::uint64_t)));
      if (!mfn) return to_rax(Errno::efault);
      frames[i] = Mfn(*mfn);
    }
    return to_rax(domain.cpu(call.vcpu).descriptors().set_gdt(*call.held, std::span(frames).first(pages)));
  });
  table.set(__HYPERVISOR_update_descriptor, "update_descriptor", [&domain](Hypercall& call) -> std::int64_t {
    const MachineAddr where(call.args[0]);
    call.spend(domain.vcpu_count());
    const auto written = domain.mmu().write_descriptor(*call.held, where, call.args[1]);
    if (!written) return to_rax(written.error().error());
    domain.descriptor_changed(frame_of(where), offset_in_page(where) / 8, *written);
    return 0;
  });
}

}  // namespace pinfold::vmm::hypercalls
