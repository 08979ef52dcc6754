// Two domains that grant frames to each other, and use, revoke, change and lose what was granted in any
// order: grant operations with any arguments, entries of tables and of grant tables with any content. After
// each step the audits agree, and no view gives access to what its domain neither owns nor has mapped by a
// grant.
#include "devices/grant_table.hpp"
#include "fakes.hpp"
#include "input.hpp"
#include "rig.hpp"
#include "vmm/memory/frame_holds.hpp"
#include "vmm/memory/granted_frames.hpp"

namespace {

using namespace pinfold;
using namespace pinfold::devices;
using pinfold::fuzz::Input;
using pinfold::fuzz::promise;
using pvmmu::DomainLock;
using pvmmu::Held;
using pvmmu::Level;
using pvmmu::Pte;
using pvmmu::concurrency::SharedDomain;
namespace test = pvmmu::test;

constexpr std::uint64_t machine_frames = 128, most_frames = 16;
constexpr std::uint32_t refs = 8;
/// Frames that the dead left may stay mapped: there are enough for all of them.
constexpr int most_ends = 4;

class Side final : public vmm::SharedFrameSource {
 public:
  Side(test::FakeMachine& machine, const std::shared_ptr<GrantNeighbours>& all, DomId id)
      : machine_(machine), domain_(machine, id, 32) {
    table_ = std::make_unique<GrantTable>(
        id, *this, granted_, GrantTable::Limits{.table = 1, .maptrack = 1},
        GrantTable::Machine{
            all,
            std::make_unique<vmm::DomainFrameHolder>(domain_.mutex, holds_, vmm::FrameHolds::For::neighbour),
            std::make_unique<vmm::DomainFrameReceiver>(domain_.mutex, domain_.mmu)});
    domain_.call([&](Held held, pvmmu::Validator& v) {
      for (Mfn& table : tables_) table = v.allocate(held).value();
      for (std::size_t i = 0; i < 3; ++i) machine.poke(tables_[i], 0, Pte(tables_[i + 1], test::table));
      (void)v.pin(held, Level::l4, tables_[0]);
      for (int i = 0; i < 6; ++i) (void)v.allocate(held);
      (void)table_->entries().grow(held, 1);
    });
    table_->attach(hypercalls_, rings_);
  }

  void step(Input& input, std::uint16_t other) {
    switch (input.take<std::uint8_t>() % 10) {
      case 0: return grant(input, other);
      case 1: return map(input, other);
      case 2: return unmap(input);
      case 3: return replace(input);
      case 4: return copy(input, other);
      case 9: return transfer(input, other);
      case 5:
        return domain_.call([&](Held held, pvmmu::Validator& v) {
          const Mfn frame(input.take<std::uint8_t>() % machine_frames);
          const std::uint64_t flags = input.take<std::uint8_t>() % 2 == 0 ? test::rw : test::ro;
          (void)v.update(held, MachineAddr(entry(input)), frame.raw() == 0 ? Pte() : Pte(frame, flags),
                         pvmmu::Preserve::nothing);
        });
      case 6:
        return domain_.call([&](Held held, pvmmu::Validator& v) {
          holds_.settle(held);
          const Mfn frame = some_frame(input);
          if (frame == tables_[0]) return;
          if (!v.pin(held, Level::l1, frame)) (void)v.unpin(held, frame);
        });
      case 7:
        return domain_.call([&](Held held, pvmmu::Validator& v) {
          holds_.settle(held);
          (void)v.deallocate(held, some_frame(input));
        });
      default:
        return domain_.call([](Held held, pvmmu::Validator& v) {
          if (v.allocated_frames() < most_frames) (void)v.allocate(held);
        });
    }
  }

  void check() {
    const DomainLock lock(domain_.mutex);
    holds_.settle(lock);
    pvmmu::OutsideReferences outside;
    for (const Mfn mfn : holds_.frames()) outside.add(mfn);
    for (const Mfn mfn : holds_.frames(vmm::FrameUse::read)) outside.add_readable(mfn);
    promise(audit(lock, domain_.mmu, outside).empty(), "the audit finds nothing");
    promise(domain_.mmu.breach() == nullptr, "no entry is forged");
    for (std::uint64_t i = 1; i < machine_frames; ++i) check_access(Mfn(i));
  }

  void end() {
    table_->detach();
    table_.reset();
    const DomainLock lock(domain_.mutex);
    holds_.settle(lock);
    const std::uint64_t left = domain_.mmu.destroy(lock);
    promise(holds_.leave_to_neighbours(lock, machine_.frames) == left, "only neighbours hold what is left");
    granted_.end();
  }

 private:
  /// By a store of the guest's, of what is there already.
  void check_access(Mfn mfn) {
    const auto& mmu = domain_.mmu;
    const bool own = mmu.owns(mfn) && !pvmmu::is_protected(mmu.facts(mfn).type);
    if (own || mmu.borrowed().of(mfn).writers != 0) return;
    promise(!domain_.view.guest_store(mfn, 511, machine_.memory.pages().load(mfn.raw(), 511)),
            "only data frames of its own and those lent for writing are written");
  }
  [[nodiscard]] tl::expected<vmm::SharedFrame, Errno> allocate(Held held) override {
    const auto mfn = domain_.mmu.allocate_special(held);
    if (!mfn) return fail(Errno::enomem);
    auto page = holds_.hold(held, *mfn);
    return vmm::SharedFrame{*mfn, std::move(*page)};
  }
  [[nodiscard]] static Mfn some_frame(Input& input) {
    return Mfn(input.take<std::uint8_t>() % machine_frames);
  }
  /// Of the L1, mostly; an odd byte makes it any address.
  [[nodiscard]] std::uint64_t entry(Input& input) const {
    const auto slot = input.take<std::uint8_t>();
    return test::entry_at(tables_[slot % 16 == 15 ? 2 : 3], slot % 8).raw() + (slot == 255 ? 4 : 0);
  }
  [[nodiscard]] static std::uint64_t address(Input& input) {
    return test::va_of(0, input.take<std::uint8_t>() % 8).raw();
  }

  template <class Args, class Fill>
  Args operation(std::uint32_t op, Fill&& fill) {
    Args args{};
    fill(args);
    DomainLock lock(domain_.mutex);
    holds_.settle(lock);
    (void)memory_.store(GuestVaddr(FakeMemory::base), args);
    vmm::Hypercall hypercall{VcpuId(0), 20, {op, FakeMemory::base, 1}, memory_, &lock};
    (void)table_->grant_table_op(hypercall);
    return memory_.fetch<Args>(GuestVaddr(FakeMemory::base)).value_or(args);
  }
  void grant(Input& input, std::uint16_t other) {
    const std::uint32_t ref = input.take<std::uint8_t>() % refs;
    const std::uint32_t flags = input.take<std::uint8_t>();
    auto page = table_->entries().frames().front().page;
    page.store(ref * 8 + 4, static_cast<std::uint32_t>(some_frame(input).raw()));
    page.store(ref * 8, flags | std::uint32_t{other} << 16);
  }
  void map(Input& input, std::uint16_t other) {
    const auto mapped = operation<gnttab_map_grant_ref>(GNTTABOP_map_grant_ref, [&](auto& args) {
      args.flags = input.take<std::uint8_t>();
      args.host_addr = (args.flags & GNTMAP_contains_pte) != 0 ? entry(input) : address(input);
      args.ref = input.take<std::uint8_t>() % (refs + 1);
      args.dom = other;
    });
    if (mapped.status == GNTST_okay) last_ = mapped;
  }
  /// The last mapping, mostly.
  void unmap(Input& input) {
    const auto what = input.take<std::uint8_t>();
    (void)operation<gnttab_unmap_grant_ref>(GNTTABOP_unmap_grant_ref, [&](auto& args) {
      args.host_addr = what % 4 != 3 ? last_.host_addr : what % 8 == 3 ? entry(input) : address(input);
      args.handle = what % 16 != 15 ? last_.handle : input.take<std::uint8_t>() % 16U;
      args.dev_bus_addr = what >= 192 ? last_.dev_bus_addr + what / 240U : 0;
    });
  }
  void replace(Input& input) {
    (void)operation<gnttab_unmap_and_replace>(GNTTABOP_unmap_and_replace, [&](auto& args) {
      args.host_addr = last_.host_addr;
      args.new_addr = address(input);
      args.handle = last_.handle;
    });
  }
  void copy(Input& input, std::uint16_t other) {
    (void)operation<gnttab_copy>(GNTTABOP_copy, [&](auto& args) {
      args.flags = input.take<std::uint8_t>() % 4;
      args.source.domid = (args.flags & GNTCOPY_source_gref) != 0 ? other : DOMID_SELF;
      args.dest.domid = (args.flags & GNTCOPY_dest_gref) != 0 ? other : DOMID_SELF;
      args.source.u.ref = args.dest.u.ref = input.take<std::uint8_t>() % machine_frames;
      args.source.offset = input.take<std::uint16_t>();
      args.dest.offset = input.take<std::uint16_t>();
      args.len = input.take<std::uint16_t>();
    });
  }

  void transfer(Input& input, std::uint16_t other) {
    if (machine_.frames.free_frames() < machine_frames / 2) return;  // the next lives need some
    (void)operation<gnttab_transfer>(GNTTABOP_transfer, [&](auto& args) {
      const auto what = input.take<std::uint8_t>();
      args.mfn = some_frame(input).raw();
      args.domid = what >= 250 ? DOMID_SELF : other;
      args.ref = what % (refs + 1);
    });
  }

  test::FakeMachine& machine_;
  SharedDomain domain_;
  vmm::FrameHolds holds_{domain_.mmu, [](Mfn, pvmmu::FrameType) { promise(false, "held data stays data"); }};
  vmm::GrantedFrames granted_{
      vmm::GrantedFrames::Parts{domain_.mmu, holds_, [this](VcpuId) { return tables_[0]; }, [](VcpuId) {}}};
  vmm::HypercallTable hypercalls_;
  BootRings rings_;
  FakeMemory memory_;
  std::unique_ptr<GrantTable> table_;
  std::array<Mfn, 4> tables_{};
  gnttab_map_grant_ref last_{};
};

class World {
 public:
  void run(Input input) {
    for (int k : {0, 1}) begin(k);
    while (!input.empty()) {
      const auto what = input.take<std::uint8_t>();
      const int k = what % 2;
      if (what >= 250 && ends_ < most_ends) {
        ++ends_;
        sides_[k]->end();
        begin(k);
      } else {
        sides_[k]->step(input, what % 16 == 0 ? ids_[k] : ids_[1 - k]);
      }
      for (const auto& side : sides_) side->check();
    }
    for (const auto& side : sides_) side->end();
    for (auto& side : sides_) side.reset();
    promise(machine_.frames.free_frames() == machine_frames - 1, "every frame is the machine's again");
  }

 private:
  void begin(int k) {
    ids_[k] = next_++;
    sides_[k].reset();
    sides_[k] = std::make_unique<Side>(machine_, all_, DomId(ids_[k]));
  }
  test::FakeMachine machine_{machine_frames};
  std::shared_ptr<GrantNeighbours> all_ = std::make_shared<GrantNeighbours>();
  std::uint16_t next_ = 1;
  int ends_ = 0;
  std::uint16_t ids_[2] = {};
  std::unique_ptr<Side> sides_[2];
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  World().run(Input(data, size));
  return 0;
}
