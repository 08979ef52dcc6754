#include "vmm/memory/vm_memory.hpp"

#include "vmm/gate/gate.hpp"

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t frames_per_large = 512;

[[nodiscard]] constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t unit) {
  return (n + unit - 1) / unit * unit;
}

}  // namespace

tl::expected<VmMemory, std::string> VmMemory::create(Machine& machine, const HostTraits& host,
                                                     const GuestSize& guest, Vm& vm) {
  VmMemory memory;
  if (auto mapped = memory.map(machine, host, guest); !mapped) return tl::unexpected(mapped.error());
  if (auto set = memory.add_arena(vm, host.fast_paths ? Gate::text_pages : 0); !set)
    return tl::unexpected(set.error().message);
  if (auto set = memory.add_slots(vm, 0, machine.frames().size()); !set)
    return tl::unexpected(set.error().message);
  return memory;
}

/// The first pages are read-only in the VM: code of the gate, which even code at CPL0 can't change.
KvmResult<void> VmMemory::add_arena(Vm& vm, std::uint64_t read_only_pages) {
  const std::uint64_t gpa = address_of(pvmmu::first_monitor_frame).raw();
  const std::size_t code = read_only_pages * page_size;
  if (code != 0)
    if (auto set = add_slot(vm, gpa, code, arena_->base(), KVM_MEM_READONLY); !set) return set;
  return add_slot(vm, gpa + code, arena_->size() - code, arena_->base() + code, 0);
}

tl::expected<void, std::string> VmMemory::map(Machine& machine, const HostTraits& host,
                                              const GuestSize& guest) {
  auto view = View::create(machine, host.protection, host.resident);
  if (!view) return tl::unexpected(view.error().message);
  view_ = std::move(*view);
  const std::uint64_t least = pvmmu::most_mirrors(guest.frames + spare_frames);
  const std::uint64_t fixed =
      Gate::pages_needed(guest.vcpus, least, host.resident ? machine.frames().most() : 0);
  const std::uint64_t mirrors = round_up(least, frames_per_large);
  auto arena = Arena::create(pvmmu::first_monitor_frame, fixed, mirrors);
  if (!arena) return tl::unexpected(arena.error().message);
  arena_ = std::move(*arena);
  machphys_ = pvmmu::first_monitor_frame.plus(fixed + mirrors);
  auto m2p = Mapping::of_file(machine.m2p_file(), machine.most_m2p_bytes(), Mapping::Access::read);
  if (!m2p) return tl::unexpected(m2p.error().message);
  m2p_ = std::move(*m2p);
  return {};
}

KvmResult<void> VmMemory::add_slots(Vm& vm, std::uint64_t from, std::uint64_t to) {
  slots_before_ = slots_;
  const auto add_all = [&]() -> KvmResult<void> {
    for (const auto& [first, count] : Machine::slots(from, to)) {
      const std::uint64_t gpa = address_of(first).raw();
      if (auto added = add_slot(vm, gpa, count * page_size, view_->base() + gpa, 0); !added) return added;
      if (view_->windows() == nullptr) continue;
      const std::uint64_t window = address_of(windows()).raw() + gpa;
      if (auto added = add_slot(vm, window, count * page_size, view_->windows() + gpa, 0); !added)
        return added;
    }
    const std::size_t had = Machine::m2p_bytes(from), needs = Machine::m2p_bytes(to);
    if (needs == had) return {};
    return add_slot(vm, address_of(machphys_).raw() + had, needs - had, m2p_.base() + had, KVM_MEM_READONLY);
  };
  auto added = add_all();
  if (!added) remove_last_slots(vm);
  return added;
}

KvmResult<void> VmMemory::add_records(Vm& vm, const pvmmu::SparseMemory& facts_memory,
                                      const pvmmu::SparseMemory& uses_memory) {
  const auto add = [&](Mfn first, const pvmmu::SparseMemory& memory, std::uint32_t flags) {
    return add_slot(vm, address_of(first).raw(), memory.reserved(), static_cast<std::byte*>(memory.base()),
                    flags);
  };
  if (auto added = add(facts(), facts_memory, KVM_MEM_READONLY); !added) return added;
  return add(uses(), uses_memory, 0);
}

void VmMemory::remove_last_slots(Vm& vm) {
  while (slots_ > slots_before_) vm.remove_memory(--slots_);
}

KvmResult<void> VmMemory::add_slot(Vm& vm, std::uint64_t gpa, std::size_t size, std::byte* memory,
                                   std::uint32_t flags) {
  auto set = vm.set_memory(slots_, gpa, size, memory, flags);
  if (set) ++slots_;
  return set;
}

}  // namespace pinfold::vmm
