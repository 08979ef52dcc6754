#include "vmm/memory/machine.hpp"

#include <algorithm>
#include <cstring>

#include "vmm/kvm/private_memory.hpp"

namespace pinfold::vmm {

std::vector<pvmmu::FrameTable::Range> Machine::slots(std::uint64_t frames) {
  std::vector<pvmmu::FrameTable::Range> slots{{Mfn(0), std::min(frames, first_private_frame.raw())}};
  if (frames > private_frames_end.raw())
    slots.push_back({private_frames_end, frames - private_frames_end.raw()});
  return slots;
}

MemoryResult<std::unique_ptr<Machine>> Machine::create(std::uint64_t frames) {
  if (frames > pvmmu::first_monitor_frame.raw())
    return tl::unexpected(MemoryError{"a machine has at most 256 GiB of memory"});
  std::unique_ptr<Machine> machine(new Machine(frames));
  if (frames > first_private_frame.raw())
    machine->frames_.withhold(
        {first_private_frame, std::min(private_pages, frames - first_private_frame.raw())});
  constexpr std::size_t large_page = 2ULL << 20;
  const std::size_t m2p_bytes = (frames * sizeof(std::uint64_t) + large_page - 1) & ~(large_page - 1);

  auto file = memory_file("pinfold-machine", frames * page_size);
  if (!file) return tl::unexpected(file.error());
  machine->file_ = std::move(*file);
  auto memory = Mapping::of_file(machine->file_, frames * page_size, Mapping::Access::read_write);
  if (!memory) return tl::unexpected(memory.error());
  machine->memory_ = std::move(*memory);

  auto m2p_file = memory_file("pinfold-m2p", m2p_bytes);
  if (!m2p_file) return tl::unexpected(m2p_file.error());
  machine->m2p_file_ = std::move(*m2p_file);
  auto m2p = Mapping::of_file(machine->m2p_file_, m2p_bytes, Mapping::Access::read_write);
  if (!m2p) return tl::unexpected(m2p.error());
  machine->m2p_ = std::move(*m2p);
  (void)machine->m2p_.populate(0, frames * sizeof(std::uint64_t));
  std::memset(machine->m2p_.base(), 0xff, frames * sizeof(std::uint64_t));
  return machine;
}

}  // namespace pinfold::vmm
