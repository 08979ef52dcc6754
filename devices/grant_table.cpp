#include "devices/grant_table.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <span>

namespace pinfold::devices {
namespace {

static_assert(sizeof(gnttab_setup_table) == 24 && offsetof(gnttab_setup_table, frame_list) == 16);
static_assert(sizeof(gnttab_query_size) == 16 && sizeof(gnttab_set_version) == 4 &&
              sizeof(gnttab_get_version) == 8);
static_assert(sizeof(gnttab_get_status_frames) == 16 && sizeof(gnttab_swap_grant_ref) == 12);

/// The bits of an operation's number. Xen has those above for an operation that it continues.
constexpr std::uint32_t operation_bits = 0xfff;

/// An operation that takes one structure and tells its result in it.
template <class Args, class Operation>
std::int64_t one(vmm::Hypercall& call, Operation operation) {
  auto args = call.memory.fetch<Args>(call.pointer(1));
  if (!args) return to_rax(args.error());
  const std::int64_t rax = operation(*args);
  const Status stored = call.memory.store(call.pointer(1), *args);
  return stored ? rax : to_rax(stored);
}

/// Operations of an array that are fetched and written back at a time: each of the two is a walk through the
/// guest's page tables.
constexpr std::size_t at_a_time = 16;

/// The next operations of an array of at most `left`: those that are whole in the page of the first, and that
/// one in any case.
template <class Args>
tl::expected<std::span<Args>, Errno> fetch_some(vmm::GuestMemory& memory, GuestVaddr at, std::size_t left,
                                                std::array<Args, at_a_time>& to) {
  const std::size_t in_page = (page_size - offset_in_page(at)) / sizeof(Args);
  const auto some = std::span(to).first(std::min({left, at_a_time, std::max<std::size_t>(in_page, 1)}));
  if (auto done = memory.read(at, std::as_writable_bytes(some)); !done) return fail(done.error());
  return some;
}

/// An array of operations. `operation` returns the status of each. When enough was done for one stretch, the
/// guest makes the hypercall again for the rest. Where the array can't be written, no more than one operation
/// is done, as on Xen.
template <class Args, class Operation>
std::int64_t each(vmm::Hypercall& call, std::uint32_t count, Operation operation) {
  std::array<Args, at_a_time> room;
  std::uint32_t done = 0;
  while (done < count && (done == 0 || !call.has_done_enough())) {
    const GuestVaddr at = call.pointer(1).plus(done * sizeof(Args));
    const auto some = fetch_some(call.memory, at, count - done, room);
    if (!some) return to_rax(some.error());
    std::size_t ran = 0;
    do {
      call.spend(pvmmu::cost::request);
      (*some)[ran].status = operation((*some)[ran]);
      if (ran++ != 0) continue;
      if (auto stored = call.memory.store(at, some->front()); !stored) return to_rax(stored);
    } while (ran < some->size() && !call.has_done_enough());
    const auto others = some->subspan(1, ran - 1);
    if (auto stored = call.memory.write(at.plus(sizeof(Args)), std::as_bytes(others)); !stored)
      return to_rax(stored);
    done += static_cast<std::uint32_t>(ran);
  }
  if (done == count) return 0;
  call.args[1] = call.pointer(1).plus(done * sizeof(Args)).raw();
  call.args[2] = count - done;
  call.completion = vmm::Completion::restart;
  return 0;
}

}  // namespace

GrantTable::GrantTable(DomId self, vmm::SharedFrameSource& frames, vmm::GrantTarget& target, Limits limits,
                       Machine machine)
    : self_(self),
      target_(target),
      entries_(std::make_shared<GrantEntries>(frames, limits.table)),
      maptrack_(limits.maptrack),
      neighbours_(std::move(machine.neighbours)) {
  if (machine.frames_for_neighbours)
    grantor_ = std::make_unique<Grantor>(entries_, std::move(machine.frames_for_neighbours),
                                         std::move(machine.receiver_for_neighbours));
}

void GrantTable::attach(vmm::HypercallTable& hypercalls, BootRings&) {
  register_with(hypercalls);
  if (neighbours_ && grantor_) neighbours_->join(self_, *grantor_);
}

void GrantTable::detach() {
  if (neighbours_) neighbours_->leave(self_);
  grantor_.reset();
  target_.keep_to_the_end(std::make_shared<std::vector<GrantedPage>>(maptrack_.clear(self_)));
  entries_->drop();
}

void GrantTable::register_with(vmm::HypercallTable& table) {
  table.set(__HYPERVISOR_grant_table_op, "grant_table_op",
            [this](vmm::Hypercall& call) { return grant_table_op(call); });
}

std::int64_t GrantTable::grant_table_op(vmm::Hypercall& call) {
  const auto count = static_cast<std::uint32_t>(call.args[2]);
  const auto operation = static_cast<std::uint32_t>(call.args[0]);
  if (count > std::uint32_t{std::numeric_limits<std::int32_t>::max()}) return to_rax(Errno::einval);
  if ((operation & ~operation_bits) != 0) return to_rax(Errno::einval);
  switch (operation) {
    case GNTTABOP_setup_table:
    case GNTTABOP_query_size:
    case GNTTABOP_get_status_frames: return count == 1 ? about_table(call, operation) : to_rax(Errno::einval);
    // These two don't look at the count, as on Xen.
    case GNTTABOP_set_version:
      return one<gnttab_set_version>(call, [this](auto& args) { return set_version(args); });
    case GNTTABOP_get_version:
      return one<gnttab_get_version>(call, [this](auto& args) { return get_version(args); });
    case GNTTABOP_map_grant_ref:
      return each<gnttab_map_grant_ref>(call, count, [&](auto& args) { return map(call, args); });
    case GNTTABOP_unmap_grant_ref: {
      const std::int64_t rax =
          each<gnttab_unmap_grant_ref>(call, count, [&](auto& args) { return unmap(call, args); });
      let_go(call);
      return rax;
    }
    case GNTTABOP_unmap_and_replace: {
      const std::int64_t rax =
          each<gnttab_unmap_and_replace>(call, count, [&](auto& args) { return replace(call, args); });
      let_go(call);
      return rax;
    }
    case GNTTABOP_copy: {
      CopyEnds ends;
      return each<gnttab_copy>(call, count, [&](auto& args) { return copy(call, args, ends); });
    }
    case GNTTABOP_swap_grant_ref:
      return each<gnttab_swap_grant_ref>(call, count, [this](auto& args) { return swap(args); });
    case GNTTABOP_transfer:
      return each<gnttab_transfer>(call, count, [&](auto& args) { return transfer(call, args); });
    default: return to_rax(Errno::enosys);
  }
}

std::int64_t GrantTable::about_table(vmm::Hypercall& call, std::uint32_t operation) {
  switch (operation) {
    case GNTTABOP_setup_table:
      return one<gnttab_setup_table>(call, [&](auto& args) { return setup_table(call, args); });
    case GNTTABOP_query_size:
      return one<gnttab_query_size>(call, [&](auto& args) { return query_size(*call.held, args); });
    default:
      return one<gnttab_get_status_frames>(call, [this](auto& args) { return get_status_frames(args); });
  }
}

std::int64_t GrantTable::setup_table(vmm::Hypercall& call, gnttab_setup_table& args) {
  const GuestVaddr list(std::bit_cast<std::uint64_t>(args.frame_list));
  if (!vmm::is_guests(list)) return to_rax(Errno::efault);
  args.status = check_table_of(args.dom);
  if (args.status != GNTST_okay) return 0;
  if (!entries_->grow(*call.held, args.nr_frames)) {
    args.status = GNTST_general_error;
    return 0;
  }
  call.spend(args.nr_frames);
  for (std::uint32_t i = 0; i < args.nr_frames; ++i) {
    if (call.memory.store(list.plus(i * sizeof(std::uint64_t)), entries_->frames()[i].mfn.raw())) continue;
    args.status = GNTST_bad_virt_addr;
    break;
  }
  return 0;
}

std::int64_t GrantTable::query_size(pvmmu::Held held, gnttab_query_size& args) {
  args.status = check_table_of(args.dom);
  if (args.status != GNTST_okay) return 0;
  // A table has one frame from the start.
  if (!entries_->grow(held, 1)) {
    args.status = GNTST_general_error;
    return 0;
  }
  args.nr_frames = static_cast<std::uint32_t>(entries_->frames().size());
  args.max_nr_frames = entries_->max_frames();
  return 0;
}

std::int64_t GrantTable::set_version(gnttab_set_version& args) {
  const std::uint32_t wanted = args.version;
  args.version = 1;
  if (wanted == 1) return 0;
  return to_rax(wanted == 2 ? Errno::enosys : Errno::einval);
}

std::int64_t GrantTable::get_version(gnttab_get_version& args) const {
  const std::int16_t permitted = check_table_of(args.dom);
  if (permitted != GNTST_okay) return to_rax(permitted == GNTST_bad_domain ? Errno::esrch : Errno::eperm);
  args.version = 1;
  return 0;
}

/// Status frames are version 2's; a version 1 table has none.
std::int64_t GrantTable::get_status_frames(gnttab_get_status_frames& args) const {
  if (!vmm::is_guests(GuestVaddr(std::bit_cast<std::uint64_t>(args.frame_list))))
    return to_rax(Errno::efault);
  args.status = check_table_of(args.dom);
  if (args.status == GNTST_okay && args.nr_frames != 0) args.status = GNTST_general_error;
  return 0;
}

std::int16_t GrantTable::swap(const gnttab_swap_grant_ref& args) {
  const Status done = entries_->swap(GrantRef(args.ref_a), GrantRef(args.ref_b));
  if (done) return GNTST_okay;
  return done.error() == Errno::ebusy ? GNTST_eagain : GNTST_bad_gntref;
}

}  // namespace pinfold::devices
