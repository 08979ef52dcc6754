// What a domain's VM has in its physical address space: the machine's frames through the domain's view, far
// above them the mirror arena, and past that the machine-to-phys table.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "pvmmu/frame.hpp"
#include "pvmmu/sparse_array.hpp"
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
  /// Gives the VM the records of the domain that the resident path uses: `facts` to read, `uses` to change.
  /// They are as long as the address space that they have, and outlive the VM.
  [[nodiscard]] KvmResult<void> add_records(Vm& vm, const pvmmu::SparseMemory& facts,
                                            const pvmmu::SparseMemory& uses);
  /// Adds the slots for a machine that grows from `from` frames to `to`. An error: none was added.
  [[nodiscard]] KvmResult<void> add_slots(Vm& vm, std::uint64_t from, std::uint64_t to);
  /// Removes the slots that the last add_slots() added.
  void remove_last_slots(Vm& vm);

  [[nodiscard]] View& view() { return *view_; }
  [[nodiscard]] Arena& arena() { return *arena_; }
  /// The machine-to-phys table's first frame.
  [[nodiscard]] Mfn machphys() const { return machphys_; }
  /// What the resident path uses has fixed places, behind all that a guest of `most_frames_with_windows` can
  /// need: windows from 512 GiB on, as many as a machine can have frames, then facts and uses. A VM that has
  /// them needs 40 bits of physical addresses.
  [[nodiscard]] static constexpr Mfn windows() { return Mfn(2 * pvmmu::first_monitor_frame.raw()); }
  [[nodiscard]] static constexpr Mfn facts() { return Mfn(3 * pvmmu::first_monitor_frame.raw()); }
  [[nodiscard]] static constexpr Mfn uses() { return facts().plus(most_record_frames); }
  static constexpr std::uint64_t most_record_frames =
      pvmmu::first_monitor_frame.raw() * sizeof(pvmmu::FrameFacts) / page_size;
  static constexpr std::uint64_t most_frames_with_windows = pvmmu::first_monitor_frame.raw() / 2;

 private:
  VmMemory() = default;
  [[nodiscard]] tl::expected<void, std::string> map(Machine& machine, const HostTraits& host,
                                                    const GuestSize& guest);
  [[nodiscard]] KvmResult<void> add_arena(Vm& vm, std::uint64_t read_only_pages);
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
