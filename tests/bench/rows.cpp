#include "rows.hpp"

#include <array>
#include <chrono>
#include <stdexcept>
#include <vector>

namespace pinfold::pvmmu::bench {

namespace {

/// How many requests are made between two looks at the log: as many as Linux puts into one mmu_update at
/// most.
constexpr std::uint64_t batch = 128;

struct Request {
  MachineAddr where;
  Pte want;
};

void must(const Verdict<>& verdict) {
  if (!verdict) [[unlikely]]
    throw std::runtime_error(verdict.error().describe());
}

/// Calls `one(i)`, which makes the operations i to i + batch - 1, for i from 0 to `round` in steps of a
/// batch, and repeats that until `operations` are done.
template <class Batch>
Timing repeat(World& world, std::uint64_t operations, std::uint64_t round, Batch one) {
  const auto begin = std::chrono::steady_clock::now();
  std::uint64_t done = 0;
  for (std::uint64_t next = 0; done < operations; done += batch) {
    one(next);
    if ((next += batch) == round) next = 0;
    world.flush_if_due();
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  return {done, took.count()};
}

Timing update_all(World& world, std::uint64_t operations, const std::vector<Request>& requests) {
  return repeat(world, operations, requests.size(), [&](std::uint64_t i) {
    for (const Request& request : std::span(requests).subspan(i, batch))
      must(world.mmu.update(world.held, request.where, request.want, Preserve::nothing));
  });
}

/// Each entry gets another frame than before, which no other entry names.
Timing new_frame(World& world, std::uint64_t operations) {
  world.fill();
  world.pin_tree();
  std::vector<Request> requests;
  for (const std::uint64_t set : {world.slots(), std::uint64_t{0}})
    for (std::uint64_t i = 0; i < world.slots(); ++i)
      requests.push_back({world.address(i), Pte(world.data(set + i), data_flags)});
  return update_all(world, operations, requests);
}

/// An entry is cleared, then set again; each of the two counts as an operation.
Timing clear_set(World& world, std::uint64_t operations) {
  world.fill();
  world.pin_tree();
  std::vector<Request> requests;
  for (std::uint64_t i = 0; i < world.slots(); ++i) {
    requests.push_back({world.address(i), Pte()});
    requests.push_back({world.address(i), Pte(world.data(i), data_flags)});
  }
  return update_all(world, operations, requests);
}

/// An entry with toggled flags: accessed and dirty. They change the mirror's entry as well, which loses and
/// gains its write permission.
Pte with_toggled_flags(const World& world, std::uint64_t number) {
  const std::uint64_t cleared = number < world.slots() ? bit::accessed | bit::dirty : 0;
  return Pte(world.data(number % world.slots()), data_flags & ~cleared);
}

Timing flags(World& world, std::uint64_t operations) {
  world.fill();
  world.pin_tree();
  std::vector<Request> requests;
  for (std::uint64_t i = 0; i < 2 * world.slots(); ++i)
    requests.push_back({world.address(i % world.slots()), with_toggled_flags(world, i)});
  return update_all(world, operations, requests);
}

/// The same by virtual address (update_va_mapping): the guest's tables are walked from the root.
Timing flags_by_address(World& world, std::uint64_t operations) {
  world.fill();
  world.pin_tree();
  struct ByAddress {
    GuestVaddr where;
    Pte want;
  };
  std::vector<ByAddress> requests;
  for (std::uint64_t i = 0; i < 2 * world.slots(); ++i)
    requests.push_back({world.virtual_address(i % world.slots()), with_toggled_flags(world, i)});
  return repeat(world, operations, requests.size(), [&](std::uint64_t i) {
    for (const ByAddress& request : std::span(requests).subspan(i, batch))
      must(world.mmu.update_va(world.held, world.root(), request.where, request.want));
  });
}

/// A full L1 is pinned and unpinned; an operation is one of its entries.
Timing pin_unpin(World& world, std::uint64_t operations) {
  world.fill();
  const std::uint64_t rounds = operations / entries_per_table;
  Timing timing = repeat(world, rounds, batch * world.tables().size(), [&](std::uint64_t i) {
    for (std::uint64_t end = i + batch; i < end; ++i) {
      const Mfn table = world.tables()[i % world.tables().size()];
      must(world.mmu.pin(world.held, Level::l1, table));
      must(world.mmu.unpin(world.held, table));
    }
  });
  timing.operations *= entries_per_table;
  return timing;
}

/// A root register moves to another validated L4.
Timing root_load(World& world, std::uint64_t operations) {
  world.pin_tree();
  Mfn root = no_mfn;
  must(world.mmu.load_root(world.held, root, world.other_root()));
  const std::array<Mfn, 2> roots{world.root(), world.other_root()};
  return repeat(world, operations, batch, [&](std::uint64_t) {
    for (std::uint64_t i = 0; i < batch; ++i) must(world.mmu.load_root(world.held, root, roots[i % 2]));
  });
}

constexpr auto all_rows = std::to_array<Row>({
    {"l1-new-frame", new_frame},
    {"l1-clear-set", clear_set},
    {"l1-flags", flags},
    {"l1-flags-by-address", flags_by_address},
    {"pin-unpin-l1-entry", pin_unpin},
    {"root-load", root_load},
});

}  // namespace

std::span<const Row> rows() { return all_rows; }

}  // namespace pinfold::pvmmu::bench
