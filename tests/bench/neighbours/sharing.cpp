#include "sharing.hpp"

namespace pinfold::bench {
namespace {

using pvmmu::Level;
using pvmmu::Pte;
namespace bit = pvmmu::bit;

constexpr std::uint64_t machine_frames = 4096, frames_each = 1024,
                        arena_frames = 64 + 2 * pvmmu::StaleLog::enough;

std::array<Pte, pvmmu::xen_slots> some_xen_slots(Mfn frame) {
  std::array<Pte, pvmmu::xen_slots> slots;
  slots.fill(Pte(frame, bit::present));
  return slots;
}
/// The arenas of the domains are apart.
Mfn arena_of(DomId id) { return Mfn((1ULL << 36) + (std::uint64_t{id.raw()} << 24)); }

}  // namespace

Side::Side(DomId number, pvmmu::FrameTable& frames, pvmmu::bench::SparsePages& memory,
           const std::shared_ptr<devices::GrantNeighbours>& all)
    : id(number),
      m2p_(machine_frames / pvmmu::entries_per_table + 1),
      arena_(arena_frames),
      mirrors_(arena_.pages(), arena_of(number)),
      mmu(pvmmu::ValidatorParts{number, frames, memory.pages(), m2p_.pages(), mirrors_, stale_, view_,
                                some_xen_slots(arena_of(number)), pvmmu::first_xen_slot, frames_each,
                                nullptr}),
      holds(mmu, [](Mfn, pvmmu::FrameType) { throw std::runtime_error("a hold has failed"); }),
      granted({mmu, holds, [this](VcpuId) { return root_; }, [](VcpuId) {}}) {
  using devices::GrantTable;
  shared_info_ = vmm::SharedPage::of_monitor();
  grants = std::make_unique<GrantTable>(
      number, *this, granted, GrantTable::Limits{},
      GrantTable::Machine{
          all, std::make_unique<vmm::DomainFrameHolder>(mutex, holds, vmm::FrameHolds::For::neighbour),
          std::make_unique<vmm::DomainFrameReceiver>(mutex, mmu)});
  devices::BootRings rings;
  grants->attach(hypercalls_, rings);
  events = std::make_unique<devices::EventChannels>(number, *this);
  events->attach(hypercalls_, rings);
  const pvmmu::DomainLock held(mutex);
  const Mfn first = mmu.allocate(held, 8).value(), data = first.plus(4);
  for (std::uint64_t i = 0; i < 3; ++i)
    memory.pages().store(first.plus(i).raw(), 0, Pte(first.plus(i + 1), pvmmu::bench::table_flags).raw());
  memory.pages().store(first.plus(3).raw(), pvmmu::slot_of(Level::l1, arguments),
                       Pte(data, pvmmu::bench::data_flags).raw());
  root_ = first;
  if (!mmu.pin(held, Level::l4, root_)) throw std::runtime_error("the tree is refused");
  arguments_page = memory.pages().page(data.raw());
  if (!grants->entries().grow(held, 1)) throw std::runtime_error("no grant table");
}

Side::~Side() { grants->detach(); }

tl::expected<vmm::SharedFrame, Errno> Side::allocate(pvmmu::Held held) {
  const auto mfn = mmu.allocate_special(held);
  if (!mfn) return fail(Errno::enomem);
  auto page = holds.hold(held, *mfn);
  return vmm::SharedFrame{*mfn, std::move(*page)};
}

void Side::grant(std::uint32_t ref, DomId to) {
  const pvmmu::DomainLock held(mutex);
  const Mfn frame = mmu.allocate(held).value();
  auto page = grants->entries().frames().front().page;
  page.store(ref * 8 + 4, static_cast<std::uint32_t>(frame.raw()));
  page.store(ref * 8, GTF_permit_access | std::uint32_t{to.raw()} << 16);
}

void Side::call(std::uint64_t number, const std::function<std::int64_t(vmm::Hypercall&)>& handler,
                std::array<std::uint64_t, 6> args) {
  pvmmu::DomainLock held(mutex);
  holds.settle(held);
  vmm::GuestAccess memory(mmu, held, root_);
  vmm::Hypercall hypercall{VcpuId(0), number, args, memory, &held};
  if (handler(hypercall) != 0) throw std::runtime_error("a hypercall failed");
}

Sharing::Sharing()
    : memory_(machine_frames),
      frames_(machine_frames),
      user_(DomId(1), frames_, memory_, all_),
      owner_(DomId(2), frames_, memory_, all_) {
  for (const std::uint32_t ref : {source_ref, dest_ref}) {
    user_.grant(ref, user_.id);
    owner_.grant(ref, user_.id);
  }
  const evtchn_bind_ipi bind{};
  put(std::span(&bind, 1));
  event_op(EVTCHNOP_bind_ipi);
  port_ = get<evtchn_bind_ipi>(0).port;
}

void Sharing::grant_op(std::uint32_t op, std::uint32_t count) {
  user_.call(__HYPERVISOR_grant_table_op,
             [this](vmm::Hypercall& call) { return user_.grants->grant_table_op(call); },
             {op, Side::arguments.raw(), count});
}

void Sharing::event_op(std::uint32_t op) {
  user_.call(__HYPERVISOR_event_channel_op,
             [this](vmm::Hypercall& call) { return user_.events->event_channel_op(call); },
             {op, Side::arguments.raw()});
}

void Sharing::take_events(std::uint32_t port) {
  auto page = user_.shared_info();
  page.store(offsetof(shared_info_t, vcpu_info) + offsetof(vcpu_info_t, evtchn_upcall_pending),
             std::uint8_t{0});
  page.store(offsetof(shared_info_t, vcpu_info) + offsetof(vcpu_info_t, evtchn_pending_sel),
             std::uint64_t{0});
  page.store(offsetof(shared_info_t, evtchn_pending) + port / 64 * 8, std::uint64_t{0});
}

}  // namespace pinfold::bench
