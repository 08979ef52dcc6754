// What a domain's VM has in its physical address space: the machine's frames through the domain's view, far
// above them the mirror arena, and past that the machine-to-phys table.
#pragma once

#include <memory>
#include <string>
#include <vector>

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
/// A machine that grows gets more slots, beside those that are there: the mappings behind them have had their
/// places from the beginning, and no frame of a new slot can be accessed before the view grants it.
///
/// Concurrency: made before the first vCPU; then changed only under Machine::SizeLock. View and Arena have
/// rules of their own.
class VmMemory {
 public:
  /// Maps everything and gives it to the VM, for a machine of `frames` as yet. The address space is enough
  /// for a guest of `guest` whose memory is all page tables; memory is taken for those that it has.
  struct GuestSize {
    std::uint64_t frames = 0;
    std::uint32_t vcpus = 1;
  };
  [[nodiscard]] static tl::expected<VmMemory, std::string> create(Machine& machine, const HostTraits& host,
                                                                  const GuestSize& guest, Vm& vm);
  /// Adds the slots for a machine that grows from `from` frames to `to`. An error: none was added.
  [[nodiscard]] KvmResult<void> add_slots(Vm& vm, std::uint64_t from, std::uint64_t to);
  /// Removes the slots that the last add_slots() added.
  void remove_last_slots(Vm& vm);

  [[nodiscard]] View& view() { return *view_; }
  [[nodiscard]] Arena& arena() { return *arena_; }
  /// The machine-to-phys table's first frame.
  [[nodiscard]] Mfn machphys() const { return machphys_; }

 private:
  VmMemory() = default;
  [[nodiscard]] tl::expected<void, std::string> map(Machine& machine, const HostTraits& host,
                                                    const GuestSize& guest);
  [[nodiscard]] KvmResult<void> add_slot(Vm& vm, std::uint64_t gpa, std::size_t size, std::byte* memory,
                                         std::uint32_t flags);

  std::unique_ptr<View> view_;
  std::unique_ptr<Arena> arena_;
  Mapping m2p_;
  Mfn machphys_;
  std::uint32_t slots_ = 0;         ///< They are numbered from 0.
  std::uint32_t slots_before_ = 0;  ///< Before the last add_slots().
};

}  // namespace pinfold::vmm
