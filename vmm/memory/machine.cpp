#include "vmm/memory/machine.hpp"

#include <algorithm>
#include <cstring>
#include <new>

#include "vmm/kvm/private_memory.hpp"

namespace pinfold::vmm {

std::vector<pvmmu::FrameTable::Range> Machine::slots(std::uint64_t from, std::uint64_t to) {
  std::vector<pvmmu::FrameTable::Range> slots;
  const auto add = [&slots](std::uint64_t begin, std::uint64_t end) {
    if (begin < end) slots.push_back({Mfn(begin), end - begin});
  };
  add(from, std::min(to, first_private_frame.raw()));
  add(std::max(from, private_frames_end.raw()), to);
  return slots;
}

std::size_t Machine::m2p_bytes(std::uint64_t frames) {
  constexpr std::size_t large_page = 2ULL << 20;
  return (frames * sizeof(std::uint64_t) + large_page - 1) & ~(large_page - 1);
}

MemoryResult<std::unique_ptr<Machine>> Machine::create(std::uint64_t frames, std::uint64_t most,
                                                       std::uint64_t max_map_count) {
  most = std::max(frames, most);
  if (most > pvmmu::first_monitor_frame.raw())
    return tl::unexpected(MemoryError{"a machine has at most 256 GiB of memory"});
  std::unique_ptr<Machine> machine;
  try {
    machine.reset(new Machine(frames, most, max_map_count));
  } catch (const std::bad_alloc&) {
    return tl::unexpected(MemoryError{"the host has no address space for the machine's records"});
  }
  machine->frames_.withhold({first_private_frame, private_pages});

  auto file = memory_file("pinfold-machine", most * page_size);
  if (!file) return tl::unexpected(file.error());
  machine->file_ = std::move(*file);
  auto memory = Mapping::of_file(machine->file_, most * page_size, Mapping::Access::none);
  if (!memory) return tl::unexpected(memory.error());
  machine->memory_ = std::move(*memory);

  auto m2p_file = memory_file("pinfold-m2p", m2p_bytes(most));
  if (!m2p_file) return tl::unexpected(m2p_file.error());
  machine->m2p_file_ = std::move(*m2p_file);
  auto m2p = Mapping::of_file(machine->m2p_file_, m2p_bytes(most), Mapping::Access::none);
  if (!m2p) return tl::unexpected(m2p.error());
  machine->m2p_ = std::move(*m2p);
  if (!machine->open_up(0, frames))
    return tl::unexpected(MemoryError{"the host does not let the machine's memory be used"});
  return machine;
}

bool Machine::open_up(std::uint64_t from, std::uint64_t to) {
  using Access = Mapping::Access;
  if (!memory_.set_access(from * page_size, (to - from) * page_size, Access::read_write)) return false;
  const std::size_t opened = from == 0 ? 0 : m2p_bytes(from), bytes = m2p_bytes(to);
  if (bytes > opened && !m2p_.set_access(opened, bytes - opened, Access::read_write)) return false;
  const std::size_t begin = from * sizeof(std::uint64_t), size = (to - from) * sizeof(std::uint64_t);
  const std::size_t first_page = begin / page_size * page_size;
  (void)m2p_.populate(first_page, begin + size - first_page);
  std::memset(m2p_.base() + begin, 0xff, size);
  return true;
}

tl::expected<void, std::string> Machine::grow(std::uint64_t frames) {
  const SizeLock held(size_mutex_);
  return grow(held, frames);
}

tl::expected<void, std::string> Machine::make_room_for(std::uint64_t frames) {
  const SizeLock held(size_mutex_);
  const std::uint64_t size = frames_.size(), free = frames_.free_frames();
  // What its domains have, what they may yet get, and what belongs to nobody (frame 0, and those withheld).
  std::uint64_t all = frames + 1 + private_pages;
  for (const MachineTenant* tenant : tenants_) all += tenant->most_frames();
  // Frames of domains that ended may still be in use.
  const std::uint64_t needed = std::max(all, size + frames - std::min(free, frames));
  // Whole 2 MiB, so that no large page ends where the machine did.
  constexpr std::uint64_t unit = pvmmu::entries_per_table;
  return grow(held, (needed + unit - 1) / unit * unit);
}

tl::expected<void, std::string> Machine::grow(const SizeLock&, std::uint64_t frames) {
  const std::uint64_t now = frames_.size();
  if (frames <= now) return {};
  constexpr std::uint64_t frames_per_mib = (1ULL << 20) / page_size;
  if (frames > frames_.most())
    return tl::unexpected("the machine has " + std::to_string(now / frames_per_mib) +
                          " MiB and can grow to " + std::to_string(frames_.most() / frames_per_mib) +
                          " MiB, not to " + std::to_string((frames + frames_per_mib - 1) / frames_per_mib) +
                          " MiB");
  if (!open_up(now, frames) || !frames_.make_room(frames))
    return tl::unexpected(std::string("the host has no memory for a larger machine"));
  for (std::size_t ready = 0; ready < tenants_.size(); ++ready) {
    auto done = tenants_[ready]->make_room(now, frames);
    if (done) continue;
    while (ready-- > 0) tenants_[ready]->take_back_room();
    return tl::unexpected("the machine can't grow: " + done.error());
  }
  for (MachineTenant* tenant : tenants_) tenant->machine_grew(frames);
  frames_.grow(frames);
  return {};
}

void Machine::join(const SizeLock&, MachineTenant& tenant) { tenants_.push_back(&tenant); }

void Machine::leave(MachineTenant& tenant) {
  const SizeLock held(size_mutex_);
  std::erase(tenants_, &tenant);
}

}  // namespace pinfold::vmm
