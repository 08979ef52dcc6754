// What a domain's VM has in its physical address space: the machine's frames through the domain's view, far
// above them the mirror arena, and past that the machine-to-phys table.
#pragma once

#include <memory>
#include <string>

#include <tl/expected.hpp>

#include "vmm/host_traits.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/memory/arena.hpp"
#include "vmm/memory/machine.hpp"
#include "vmm/memory/mapping.hpp"
#include "vmm/memory/view.hpp"

namespace pinfold::vmm {

/// Owns these mappings. No vCPU of the VM runs once they are gone.
///
/// Concurrency: made before the first vCPU; never changed. View and Arena have rules of their own.
class VmMemory {
 public:
  /// Maps everything and gives it to the VM. The address space is enough for a guest of `vcpus` whose memory
  /// is all page tables; memory is taken for those that it has.
  [[nodiscard]] static tl::expected<VmMemory, std::string> create(Machine& machine, const HostTraits& host,
                                                                  std::uint32_t vcpus, Vm& vm);

  [[nodiscard]] View& view() { return *view_; }
  [[nodiscard]] Arena& arena() { return *arena_; }
  /// The machine-to-phys table's first frame.
  [[nodiscard]] Mfn machphys() const { return machphys_; }

 private:
  VmMemory() = default;
  [[nodiscard]] tl::expected<void, std::string> map(Machine& machine, const HostTraits& host,
                                                    std::uint32_t vcpus);
  [[nodiscard]] KvmResult<void> give_to(Vm& vm, Machine& machine);

  std::unique_ptr<View> view_;
  std::unique_ptr<Arena> arena_;
  Mapping m2p_;
  Mfn machphys_;
};

}  // namespace pinfold::vmm
