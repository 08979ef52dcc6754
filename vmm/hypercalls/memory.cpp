// memory_op: a domain's reservation grows, shrinks and is exchanged (xen/memory.h).
#include <cstdint>

#include <xen/memory.h>
#include <xen/xen.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "vmm/domain.hpp"
#include "vmm/hypercalls/hypercalls.hpp"

namespace pinfold::vmm::hypercalls {
namespace {

constexpr unsigned max_order = 9;           ///< Of an extent that a domU may ask for.
constexpr unsigned start_extent_shift = 6;  ///< A restarted operation goes on at cmd >> 6 (xen/memory.h).

GuestVaddr handle_of(const void* pointer) { return GuestVaddr(std::bit_cast<std::uint64_t>(pointer)); }

bool is_self(domid_t dom) { return dom == DOMID_SELF; }

/// Does increase_reservation, decrease_reservation or populate_physmap: calls `some` for the extents of the
/// reservation that are not done yet, which are at `slot` and `left` in number. It does one or more of them
/// and returns how many; 0: it can't do the next one. Returns the number of extents done, whatever stopped
/// it.
template <class Some>
std::int64_t over_extents(Hypercall& call, Some&& some) {
  const std::uint64_t start = call.args[0] >> start_extent_shift;
  const auto reservation = call.memory.fetch<xen_memory_reservation>(call.pointer(1));
  if (!reservation) return static_cast<std::int64_t>(start);
  const std::uint64_t count = reservation->nr_extents;
  if (!is_self(reservation->domid) || reservation->extent_order > max_order || start >= count ||
      count >> 40 != 0)
    return static_cast<std::int64_t>(start);
  const GuestVaddr list = handle_of(reservation->extent_start.p);
  std::uint64_t done = start;
  while (done < count) {
    if (done != start && call.has_done_enough()) {
      call.args[0] = (call.args[0] & ((1U << start_extent_shift) - 1)) | done << start_extent_shift;
      call.completion = Completion::restart;
      return 0;
    }
    const std::uint64_t n = some(*reservation, list.plus(done * sizeof(std::uint64_t)), count - done);
    call.spend(std::max<std::uint64_t>(n, 1) * pvmmu::cost::request);
    if (n == 0) break;
    done += n;
  }
  return static_cast<std::int64_t>(done);
}

/// A change of the view costs a system call: so neighbours are changed together, as many as this.
constexpr std::uint64_t most_neighbours = 64;

GuestVaddr slot_of(GuestVaddr slot, std::uint64_t index) { return slot.plus(index * sizeof(std::uint64_t)); }

/// Numbers from the list, as long as they count up or down one by one.
std::vector<Mfn> run_at(Hypercall& call, GuestVaddr slot, std::uint64_t left) {
  std::vector<Mfn> run;
  for (std::uint64_t i = 0; i < std::min(left, most_neighbours); ++i) {
    const auto mfn = call.memory.fetch<std::uint64_t>(slot_of(slot, i));
    if (!mfn) break;
    if (i != 0) {
      const std::uint64_t before = run.back().raw();
      const bool up = *mfn > before, was_up = i > 1 ? before > run[i - 2].raw() : up;
      if (up != was_up || (up ? *mfn - before : before - *mfn) != 1) break;
    }
    run.emplace_back(*mfn);
  }
  return run;
}

std::uint64_t decrease_some(Domain& domain, Hypercall& call, const xen_memory_reservation& r, GuestVaddr slot,
                            std::uint64_t left) {
  if (r.extent_order == 0) {
    const std::vector<Mfn> run = run_at(call, slot, left);
    if (run.size() > 1 &&
        domain.mmu().deallocate_run(*call.held, std::min(run.front(), run.back()), run.size()))
      return run.size();
    std::uint64_t done = 0;
    while (done < run.size() && domain.mmu().deallocate(*call.held, run[done])) ++done;
    return done;
  }
  const auto mfn = call.memory.fetch<std::uint64_t>(slot);
  if (!mfn) return 0;
  call.spend(1ULL << r.extent_order);
  for (std::uint64_t i = 0; i < 1ULL << r.extent_order; ++i)
    if (!domain.mmu().deallocate(*call.held, Mfn(*mfn + i))) return 0;
  return 1;
}

/// New frames for `extents` extents, side by side.
tl::expected<Mfn, Errno> new_frames(Domain& domain, Hypercall& call, unsigned order, std::uint64_t extents) {
  const std::uint64_t alignment = 1ULL << order, count = extents << order;
  if (!domain.memory_limit().allows(domain.mmu().allocated_frames(), count)) return fail(Errno::enomem);
  const auto first = domain.mmu().allocate(*call.held, count, alignment);
  if (!first) return fail(Errno::enomem);
  return *first;
}

/// Gives the guest one extent: its number into the list, and into the array of the machine if it said the
/// frame's place. False: the guest can't learn the number, or did not say the place.
bool hand_out(Domain& domain, Hypercall& call, const xen_memory_reservation& r, GuestVaddr slot, Mfn first,
              bool physmap) {
  const auto pfn =
      physmap ? call.memory.fetch<std::uint64_t>(slot) : tl::expected<std::uint64_t, Errno>(no_pfn.raw());
  if (!pfn || (r.extent_start.p != nullptr && !call.memory.store(slot, first.raw()))) return false;
  for (std::uint64_t i = 0; physmap && i < 1ULL << r.extent_order; ++i)
    (void)domain.mmu().set_machphys(*call.held, first.plus(i), Pfn(*pfn + i));
  return true;
}

std::uint64_t populate_some(Domain& domain, Hypercall& call, const xen_memory_reservation& r, GuestVaddr slot,
                            std::uint64_t left, bool physmap) {
  std::uint64_t extents = r.extent_order == 0 ? std::bit_floor(std::min(left, most_neighbours)) : 1;
  auto first = new_frames(domain, call, r.extent_order, extents);
  while (!first && extents > 1) first = new_frames(domain, call, r.extent_order, extents /= 2);
  if (!first) return 0;
  for (std::uint64_t i = 0; i < extents; ++i) {
    const Mfn extent = first->plus(i << r.extent_order);
    if (hand_out(domain, call, r, slot_of(slot, i), extent, physmap)) continue;
    for (std::uint64_t k = i << r.extent_order; k < extents << r.extent_order; ++k)
      (void)domain.mmu().deallocate(*call.held, first->plus(k));
    return i;
  }
  return extents;
}

/// XENMEM_exchange is done in units. A unit is one extent of the larger of both sizes, and as many extents of
/// the other size as have the same number of frames.
struct Exchange {
  xen_memory_exchange args;
  std::uint64_t in_frames, out_frames;    ///< Of one extent.
  std::uint64_t in_extents, out_extents;  ///< Of one unit.

  explicit Exchange(const xen_memory_exchange& a)
      : args(a),
        in_frames(1ULL << a.in.extent_order),
        out_frames(1ULL << a.out.extent_order),
        in_extents(std::max<std::uint64_t>(out_frames / in_frames, 1)),
        out_extents(std::max<std::uint64_t>(in_frames / out_frames, 1)) {}

  [[nodiscard]] std::uint64_t unit_frames() const { return in_extents * in_frames; }
  [[nodiscard]] GuestVaddr in_slot(std::uint64_t i) const {
    return handle_of(args.in.extent_start.p).plus(i * sizeof(std::uint64_t));
  }
  [[nodiscard]] GuestVaddr out_slot(std::uint64_t i) const {
    return handle_of(args.out.extent_start.p).plus(i * sizeof(std::uint64_t));
  }
};

/// The frames that a unit gives up. Each must be the domain's, be named once, and have no reference but the
/// reservation's.
tl::expected<std::vector<Mfn>, Errno> frames_given_up(Domain& domain, Hypercall& call, const Exchange& x,
                                                      std::uint64_t first) {
  std::vector<Mfn> frames;
  for (std::uint64_t i = 0; i < x.in_extents; ++i) {
    const auto mfn = call.memory.fetch<std::uint64_t>(x.in_slot(first + i));
    if (!mfn) return fail(Errno::efault);
    for (std::uint64_t k = 0; k < x.in_frames; ++k) frames.emplace_back(*mfn + k);
  }
  for (const Mfn mfn : frames)
    if (!domain.mmu().check_exchangeable(*call.held, mfn)) return fail(Errno::einval);
  std::vector<Mfn> sorted = frames;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) return fail(Errno::einval);
  return frames;
}

/// Exchanges one unit. All of it is checked before any frame changes hands.
Status exchange_unit(Domain& domain, Hypercall& call, const Exchange& x, std::uint64_t first_in) {
  const auto old = frames_given_up(domain, call, x, first_in);
  if (!old) return fail(old.error());
  const std::uint64_t first_out = first_in / x.in_extents * x.out_extents;
  std::vector<std::uint64_t> pfns;
  for (std::uint64_t i = 0; i < x.out_extents; ++i) {
    const auto pfn = call.memory.fetch<std::uint64_t>(x.out_slot(first_out + i));
    // The result is written to the same place: it must be writable before anything changes.
    if (!pfn || !call.memory.store(x.out_slot(first_out + i), *pfn)) return fail(Errno::efault);
    pfns.push_back(*pfn);
  }
  // Allocate the new frames first, which exceeds the domain's limit for a moment: if there are none, the
  // domain still has the old ones.
  pvmmu::Validator& mmu = domain.mmu();
  std::vector<Mfn> fresh;
  for (std::uint64_t i = 0; i < x.out_extents; ++i) {
    const auto mfn = mmu.allocate_beyond_limit(*call.held, x.out_frames, x.out_frames);
    if (!mfn) {
      for (const Mfn taken : fresh)
        for (std::uint64_t k = 0; k < x.out_frames; ++k) (void)mmu.deallocate(*call.held, taken.plus(k));
      return fail(Errno::enomem);
    }
    fresh.push_back(*mfn);
  }
  for (const Mfn mfn : *old) (void)mmu.deallocate(*call.held, mfn);
  for (std::size_t i = 0; i < fresh.size(); ++i) {
    for (std::uint64_t k = 0; k < x.out_frames; ++k)
      (void)mmu.set_machphys(*call.held, fresh[i].plus(k), Pfn(pfns[i] + k));
    (void)call.memory.store(x.out_slot(first_out + i), fresh[i].raw());
  }
  return {};
}

/// XENMEM_exchange: exchanges frames for others, in extents of another size. `nr_exchanged` tells the guest,
/// and the restarted call, how many were done.
std::int64_t exchange(Domain& domain, Hypercall& call) {
  const auto args = call.memory.fetch<xen_memory_exchange>(call.pointer(1));
  if (!args) return to_rax(Errno::efault);
  const auto& in = args->in;
  const auto& out = args->out;
  if (in.extent_order > max_order || out.extent_order > max_order) return to_rax(Errno::eperm);
  if (args->nr_exchanged > in.nr_extents || !is_self(in.domid) || !is_self(out.domid))
    return to_rax(Errno::einval);
  // More than a machine can have, before anything is multiplied.
  if (in.nr_extents >> 40 != 0 || out.nr_extents >> 40 != 0) return to_rax(Errno::einval);
  const Exchange x(*args);
  if (in.nr_extents * x.in_frames != out.nr_extents * x.out_frames || args->nr_exchanged % x.in_extents != 0)
    return to_rax(Errno::einval);

  Status status;
  std::uint64_t done = args->nr_exchanged;
  const std::uint64_t before = done;
  while (status && done < in.nr_extents && (done == before || !call.has_done_enough())) {
    call.spend((x.in_extents + x.out_extents) * pvmmu::cost::request + x.unit_frames());
    status = exchange_unit(domain, call, x, done);
    if (status) done += x.in_extents;
  }
  const GuestVaddr told = call.pointer(1).plus(offsetof(xen_memory_exchange, nr_exchanged));
  const Status stored = call.memory.store<std::uint64_t>(told, done);
  if (!status) return to_rax(status);
  if (!stored) return to_rax(stored);
  if (done < in.nr_extents) call.completion = Completion::restart;
  return 0;
}

std::int64_t machphys_mapping(Domain& domain, Hypercall& call) {
  xen_machphys_mapping mapping{};
  mapping.v_start = domain.gate().machphys_address();
  const std::size_t bytes = Machine::m2p_bytes(domain.mmu().machine_frames());
  mapping.v_end = mapping.v_start + bytes;
  mapping.max_mfn = bytes / sizeof(std::uint64_t) - 1;
  return to_rax(call.memory.store(call.pointer(1), mapping));
}

/// One range of RAM, up to what the guest may ever have. The balloon driver finds there the room for what the
/// guest has not got yet.
std::int64_t memory_map(Domain& domain, Hypercall& call) {
  /// An entry of the map: struct e820entry in Xen and Linux. The public headers have no definition of it.
  struct [[gnu::packed]] Range {
    std::uint64_t first, bytes;
    std::uint32_t type;
  };
  static_assert(sizeof(Range) == 20);
  constexpr std::uint32_t ram = 1;
  auto map = call.memory.fetch<xen_memory_map>(call.pointer(1));
  if (!map) return to_rax(Errno::efault);
  map->nr_entries = std::min(map->nr_entries, 1U);
  const Range range{0, domain.memory_limit().most() * page_size, ram};
  if (map->nr_entries != 0 && !call.memory.store(handle_of(map->buffer.p), range))
    return to_rax(Errno::efault);
  return to_rax(call.memory.store(call.pointer(1), *map));
}

std::int64_t reservation_size(Hypercall& call, std::uint64_t frames) {
  const auto dom = call.memory.fetch<domid_t>(call.pointer(1));
  if (!dom) return to_rax(Errno::efault);
  return is_self(*dom) ? static_cast<std::int64_t>(frames) : to_rax(Errno::esrch);
}

/// The last PFN, as the guest itself has told in shared_info.
std::uint64_t maximum_gpfn(Domain& domain) {
  const auto count = domain.shared_info().load<std::uint64_t>(offsetof(shared_info_t, arch.max_pfn));
  return count == 0 ? 0 : count - 1;
}

std::int64_t memory_op(Domain& domain, Hypercall& call) {
  switch (call.args[0] & ((1U << start_extent_shift) - 1)) {
    case XENMEM_increase_reservation:
      return over_extents(call, [&](const auto& r, GuestVaddr slot, std::uint64_t left) {
        return populate_some(domain, call, r, slot, left, false);
      });
    case XENMEM_decrease_reservation:
      return over_extents(call, [&](const auto& r, GuestVaddr slot, std::uint64_t left) {
        return decrease_some(domain, call, r, slot, left);
      });
    case XENMEM_populate_physmap:
      return over_extents(call, [&](const auto& r, GuestVaddr slot, std::uint64_t left) {
        return populate_some(domain, call, r, slot, left, true);
      });
    case XENMEM_exchange: return exchange(domain, call);
    case XENMEM_maximum_ram_page: return static_cast<std::int64_t>(domain.mmu().machine_frames() - 1);
    case XENMEM_current_reservation: return reservation_size(call, domain.mmu().allocated_frames());
    case XENMEM_maximum_reservation: return reservation_size(call, domain.memory_limit().frames());
    case XENMEM_maximum_gpfn: return reservation_size(call, maximum_gpfn(domain));
    case XENMEM_memory_map: return memory_map(domain, call);
    case XENMEM_machphys_mapping: return machphys_mapping(domain, call);
    case XENMEM_machphys_mfn_list:
    case XENMEM_machine_memory_map:
    case XENMEM_set_memory_map: return to_rax(Errno::eperm);
    case XENMEM_add_to_physmap: return to_rax(Errno::eacces);
    default: return to_rax(Errno::enosys);
  }
}

}  // namespace

void register_memory(Domain& domain) {
  domain.hypercalls().set(__HYPERVISOR_memory_op, "memory_op",
                          [&domain](Hypercall& call) { return memory_op(domain, call); });
}

}  // namespace pinfold::vmm::hypercalls
