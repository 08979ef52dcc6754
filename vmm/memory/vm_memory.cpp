#include "vmm/memory/vm_memory.hpp"

#include "vmm/gate/gate.hpp"

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t frames_per_large = 512;
constexpr std::uint32_t arena_slot_number = 0, m2p_slot = 1, first_machine_slot = 2;

[[nodiscard]] constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t unit) {
  return (n + unit - 1) / unit * unit;
}

}  // namespace

tl::expected<VmMemory, std::string> VmMemory::create(Machine& machine, const HostTraits& host,
                                                     std::uint32_t vcpus, Vm& vm) {
  VmMemory memory;
  if (auto mapped = memory.map(machine, host, vcpus); !mapped) return tl::unexpected(mapped.error());
  if (auto given = memory.give_to(vm, machine); !given) return tl::unexpected(given.error().message);
  return memory;
}

tl::expected<void, std::string> VmMemory::map(Machine& machine, const HostTraits& host, std::uint32_t vcpus) {
  auto view = View::create(machine, host.protection);
  if (!view) return tl::unexpected(view.error().message);
  view_ = std::move(*view);
  const std::uint64_t least = pvmmu::most_mirrors(machine.frames().size());
  const std::uint64_t fixed = Gate::pages_needed(vcpus, least);
  const std::uint64_t mirrors = round_up(fixed + least, frames_per_large) - fixed;
  auto arena = Arena::create(pvmmu::first_monitor_frame, fixed, mirrors);
  if (!arena) return tl::unexpected(arena.error().message);
  arena_ = std::move(*arena);
  machphys_ = pvmmu::first_monitor_frame.plus(fixed + mirrors);
  auto m2p = Mapping::of_file(machine.m2p_file(), machine.m2p_bytes(), Mapping::Access::read);
  if (!m2p) return tl::unexpected(m2p.error().message);
  m2p_ = std::move(*m2p);
  return {};
}

KvmResult<void> VmMemory::give_to(Vm& vm, Machine& machine) {
  std::uint32_t number = first_machine_slot;
  for (const auto& [first, count] : Machine::slots(machine.frames().size())) {
    const std::uint64_t gpa = address_of(first).raw();
    if (auto set = vm.set_memory(number++, gpa, count * page_size, view_->base() + gpa, 0); !set) return set;
  }
  const std::uint64_t arena_gpa = address_of(pvmmu::first_monitor_frame).raw();
  if (auto set = vm.set_memory(arena_slot_number, arena_gpa, arena_->size(), arena_->base(), 0); !set)
    return set;
  return vm.set_memory(m2p_slot, address_of(machphys_).raw(), m2p_.size(), m2p_.base(), KVM_MEM_READONLY);
}

}  // namespace pinfold::vmm
