// Domains of one machine, of which one maps and copies what the other grants.
#pragma once

#include <memory>

#include "grant_table_fixture.hpp"

namespace pinfold::devices {

inline constexpr std::uint16_t plain = GTF_permit_access, read_only = GTF_permit_access | GTF_readonly;
inline constexpr std::uint16_t reading = plain | GTF_reading, writing = reading | GTF_writing;
inline constexpr std::uint64_t here = FakeGrantTarget::first_entry;

/// One domain of the machine, with a vCPU that makes hypercalls.
struct Neighbour {
  Neighbour(std::uint16_t number, const std::shared_ptr<GrantNeighbours>& all)
      : id(number),
        table(std::make_unique<GrantTable>(
            DomId(number), frames, target, GrantTable::Limits{.table = 2, .maptrack = 1},
            GrantTable::Machine{all, std::make_unique<FakeGrantHolder>(target, lock.held),
                                std::make_unique<FakeFrameReceiver>(target)})) {
    table->attach(hypercalls, rings);
    EXPECT_TRUE(table->entries().grow(lock.held, 1));
  }
  void end() {
    table->detach();
    table.reset();
  }
  template <class Args>
  std::int64_t call(std::uint32_t op, Args& args, std::uint64_t count = 1) {
    EXPECT_TRUE(memory.store(GuestVaddr(FakeMemory::base), args));
    vmm::Hypercall hypercall{VcpuId(0), 20, {op, FakeMemory::base, count}, memory, &lock.held};
    const auto rax = table->grant_table_op(hypercall);
    args = *memory.fetch<Args>(GuestVaddr(FakeMemory::base));
    return rax;
  }
  void grant(std::uint32_t ref, std::uint16_t flags, std::uint16_t dom, std::uint32_t frame) {
    auto page = table->entries().frames().at(ref / 512).page;
    page.store<std::uint32_t>(ref % 512 * 8 + 4, frame);
    page.store<std::uint32_t>(ref % 512 * 8, flags | std::uint32_t{dom} << 16);
  }
  std::uint16_t flags(std::uint32_t ref) {
    return table->entries().frames().at(ref / 512).page.load<std::uint16_t>(ref % 512 * 8);
  }
  gnttab_map_grant_ref map(std::uint16_t dom, std::uint32_t ref, std::uint32_t flags = GNTMAP_host_map,
                           std::uint64_t at = here) {
    gnttab_map_grant_ref args{};
    args.host_addr = at;
    args.flags = flags;
    args.ref = ref;
    args.dom = dom;
    EXPECT_EQ(call(GNTTABOP_map_grant_ref, args), 0);
    return args;
  }
  std::int16_t transfer(std::uint64_t frame, std::uint16_t dom, std::uint32_t ref) {
    gnttab_transfer args{frame, dom, ref, 99};
    EXPECT_EQ(call(GNTTABOP_transfer, args), 0);
    return args.status;
  }
  std::uint32_t frame(std::uint32_t ref) {
    return table->entries().frames().at(ref / 512).page.load<std::uint32_t>(ref % 512 * 8 + 4);
  }
  std::int16_t unmap(std::uint32_t handle, std::uint64_t at = here, std::uint64_t bus = 0) {
    gnttab_unmap_grant_ref args{at, bus, handle, 99};
    EXPECT_EQ(call(GNTTABOP_unmap_grant_ref, args), 0);
    return args.status;
  }

  std::uint16_t id;
  FakeFrames frames;
  FakeMemory memory;
  FakeLock lock;
  FakeGrantTarget target;
  vmm::HypercallTable hypercalls;
  BootRings rings;
  std::unique_ptr<GrantTable> table;
};

struct GrantNeighbour : testing::Test {
  ~GrantNeighbour() override {
    for (Neighbour* domain : {&one, &two})
      if (domain->table) domain->end();
  }
  std::int16_t copy(std::uint16_t flags, const gnttab_copy::gnttab_copy_ptr& source,
                    const gnttab_copy::gnttab_copy_ptr& dest, std::uint16_t length = 8) {
    gnttab_copy args{};
    args.source = source;
    args.dest = dest;
    args.len = length;
    args.flags = flags;
    args.status = 99;
    EXPECT_EQ(one.call(GNTTABOP_copy, args), 0);
    return args.status;
  }
  static gnttab_copy::gnttab_copy_ptr own(std::uint64_t frame, std::uint16_t offset = 0) {
    gnttab_copy::gnttab_copy_ptr end{};
    end.u.gmfn = frame;
    end.domid = DOMID_SELF;
    end.offset = offset;
    return end;
  }
  static gnttab_copy::gnttab_copy_ptr granted(std::uint16_t dom, std::uint32_t ref,
                                              std::uint16_t offset = 0) {
    gnttab_copy::gnttab_copy_ptr end{};
    end.u.ref = ref;
    end.domid = dom;
    end.offset = offset;
    return end;
  }

  std::shared_ptr<GrantNeighbours> all = std::make_shared<GrantNeighbours>();
  Neighbour one{1, all}, two{2, all};
};

}  // namespace pinfold::devices
