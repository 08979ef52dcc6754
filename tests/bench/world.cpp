#include "world.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <stdexcept>

namespace pinfold::pvmmu::bench {

namespace {

constexpr std::uint64_t most_tables = 2048;
constexpr std::uint64_t upper_frames = 3 + most_tables / entries_per_table;
constexpr std::uint64_t arena_frames = 2 * most_tables + 2 * StaleLog::enough;
constexpr std::uint64_t frames_per_mib = (1 << 20) / page_size;
constexpr Mfn arena_at{1ULL << 36};

std::array<Pte, xen_slots> some_xen_slots() {
  std::array<Pte, xen_slots> slots;
  slots.fill(Pte(arena_at, bit::present));
  return slots;
}

}  // namespace

SparsePages::SparsePages(std::uint64_t pages) : pages_(pages) {
  const int file = memfd_create("bench", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, static_cast<off_t>(pages * page_size)) != 0)
    throw std::runtime_error("no memory file");
  void* at = mmap(nullptr, pages * page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
  close(file);
  if (at == MAP_FAILED) throw std::runtime_error("no address space");
  base_ = static_cast<std::byte*>(at);
}

SparsePages::~SparsePages() { munmap(base_, pages_ * page_size); }

World::World(std::uint64_t machine_mib, Order order, Log log, TraceSink* watcher)
    : memory_(machine_mib * frames_per_mib),
      m2p_(machine_mib * frames_per_mib / entries_per_table + 1),
      arena_(arena_frames),
      frames_(machine_mib * frames_per_mib),
      mirrors_(arena_.pages(), arena_at),
      stale_(log == Log::on),
      mmu(ValidatorParts{DomId(1), frames_, memory_.pages(), m2p_.pages(), mirrors_, stale_, view_,
                         some_xen_slots(), first_xen_slot, 1ULL << 40, watcher}),
      held(mutex_) {
  const std::uint64_t frames = machine_mib * frames_per_mib - 1;  // frame 0 is nobody's
  const Mfn first = mmu.allocate(held, frames).value();
  std::uint64_t taken = 0;
  l3_ = first.plus(taken++);
  for (Mfn& root : roots_) root = first.plus(taken++);
  const std::uint64_t tables = std::min((frames - upper_frames) / (2 * entries_per_table + 1), most_tables);
  for (std::uint64_t i = 0; i < tables; i += entries_per_table) l2s_.push_back(first.plus(taken++));

  // The machine is divided into equal parts: a table, followed by the data frames for its slots.
  const std::uint64_t part = (frames - upper_frames) / tables;
  const std::uint64_t step = order == Order::random ? (part - 1) / (2 * entries_per_table) : 1;
  for (std::uint64_t table = 0; table < tables; ++table) {
    const Mfn begin = first.plus(upper_frames + table * part);
    tables_.push_back(begin);
    for (std::uint64_t i = 0; i < 2 * entries_per_table; ++i) data_.push_back(begin.plus(1 + i * step));
  }
  slots_.resize(tables * entries_per_table);
  std::iota(slots_.begin(), slots_.end(), 0U);
  if (order == Order::sequential) return;
  std::mt19937_64 random(1);
  std::shuffle(slots_.begin(), slots_.end(), random);
  std::shuffle(data_.begin(), data_.end(), random);
}

MachineAddr World::address(std::uint64_t number) const {
  const std::uint64_t slot = slots_[number];
  return MachineAddr(address_of(tables_[slot / entries_per_table]).raw() +
                     slot % entries_per_table * sizeof(Pte));
}

GuestVaddr World::virtual_address(std::uint64_t number) const {
  return GuestVaddr(slots_[number] * page_size);
}

void World::fill() const {
  for (std::uint64_t i = 0; i < slots(); ++i)
    memory_.pages().store(frame_of(address(i)).raw(), offset_in_page(address(i)) / sizeof(Pte),
                          Pte(data(i), data_flags).raw());
}

void World::pin_tree() {
  for (std::size_t i = 0; i < tables_.size(); ++i)
    link(l2s_[i / entries_per_table], i % entries_per_table, tables_[i]);
  for (std::size_t i = 0; i < l2s_.size(); ++i) link(l3_, i, l2s_[i]);
  for (const Mfn root : roots_) {
    link(root, 0, l3_);
    if (!mmu.pin(held, Level::l4, root)) throw std::runtime_error("the tree is refused");
  }
}

}  // namespace pinfold::pvmmu::bench
