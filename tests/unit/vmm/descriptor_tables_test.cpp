// GDT and LDT of a vCPU: what is held, what the processor's copies show, and what a fault in the LDT means.
#include "vmm/cpu/descriptor_tables.hpp"

#include <gtest/gtest.h>

#include "fake_machine.hpp"

namespace pinfold::vmm {
namespace {

using namespace pvmmu;
using namespace pvmmu::test;

constexpr std::uint64_t data = 0x00cff2000000ffff;  // present, DPL 3, data
constexpr std::uint64_t code = 0x00affa000000ffff;
/// The processor's copy of the LDT.
constexpr std::uint64_t ldt_copy = gate::cpu_area(0) + gate::ldt_page * page_size;

struct Scene {
  Scene() {
    const Tree tree = build_tree(machine, domain);
    root = tree.l4;
    ldt_frame = domain.allocate();
    machine.poke(tree.l1, 0, Pte(ldt_frame, ro));
    EXPECT_TRUE(domain.mmu.pin(domain.held, Level::l4, root));
  }
  Mfn descriptor_page(std::uint64_t first) {
    const Mfn mfn = domain.allocate();
    machine.poke(mfn, 0, Pte(first));
    return mfn;
  }
  [[nodiscard]] Frame frame(Mfn mfn) { return domain.mmu.frame(mfn); }
  [[nodiscard]] std::uint64_t copy(std::uint16_t selector) {
    return gate.segment_tables().descriptor(0, selector);
  }

  FakeMachine machine{64};
  FakeDomain domain{machine, DomId(1)};
  std::unique_ptr<Arena> arena =
      Arena::create(first_monitor_frame, Gate::pages_needed(1, 2048), 2048).value();
  Gate gate{*arena, 1, HostTraits{}, Mfn(0x4000000), page_size};
  DomainEnd end{[] {}};
  TlbFlushes flushes{{1, false, end, [](VcpuId) {}, nullptr}};
  Mfn root, ldt_frame;
  DescriptorTables tables{{VcpuId(0), domain.mmu, gate, flushes, root}};
};

constexpr std::uint16_t first_of_gdt = 3, first_of_ldt = 4 | 3, second_of_ldt = 8 | 4 | 3;

TEST(DescriptorTables, a_gdts_frames_are_held_and_copied) {
  Scene s;
  const Mfn mfn = s.descriptor_page(data);
  ASSERT_TRUE(s.tables.set_gdt(s.domain.held, std::array{mfn}));
  EXPECT_EQ(s.frame(mfn).type, FrameType::seg_desc);
  EXPECT_EQ(s.copy(first_of_gdt), data);
  EXPECT_TRUE(s.flushes.duties().due(VcpuId(0))) << "the processor may have cached the old copy";
  ASSERT_EQ(s.tables.gdt_frames().size(), 1U);
  EXPECT_EQ(s.tables.gdt_frames()[0], mfn);
}

TEST(DescriptorTables, a_gdt_that_is_refused_leaves_the_old_one) {
  Scene s;
  const Mfn old = s.descriptor_page(data), fresh = s.descriptor_page(code);
  ASSERT_TRUE(s.tables.set_gdt(s.domain.held, std::array{old}));
  EXPECT_FALSE(s.tables.set_gdt(s.domain.held, std::array{fresh, s.root}));
  EXPECT_EQ(s.frame(fresh).type_count, 0U);
  EXPECT_EQ(s.frame(old).type_count, 1U);
  EXPECT_EQ(s.copy(first_of_gdt), data);
}

TEST(DescriptorTables, another_gdt_lets_the_old_frames_go) {
  Scene s;
  const Mfn old = s.descriptor_page(data), fresh = s.descriptor_page(code);
  ASSERT_TRUE(s.tables.set_gdt(s.domain.held, std::array{old, old}));
  EXPECT_EQ(s.frame(old).type_count, 2U);
  ASSERT_TRUE(s.tables.set_gdt(s.domain.held, std::array{fresh}));
  EXPECT_EQ(s.frame(old).type_count, 0U);
  EXPECT_EQ(s.copy(first_of_gdt), code);
}

TEST(DescriptorTables, what_no_ldt_can_be_is_refused) {
  Scene s;
  EXPECT_FALSE(s.tables.set_ldt(s.domain.held, GuestVaddr(0), max_ldt_entries + 1));
  EXPECT_FALSE(s.tables.set_ldt(s.domain.held, GuestVaddr(8), 1));
  EXPECT_FALSE(s.tables.set_ldt(s.domain.held, GuestVaddr(1ULL << 60), 1));
  EXPECT_FALSE(s.tables.set_ldt(s.domain.held, GuestVaddr(gate::slot_base(256)), 1));
  EXPECT_TRUE(s.tables.set_ldt(s.domain.held, GuestVaddr(gate::slot_base(256)), 0));
}

TEST(DescriptorTables, a_page_of_the_ldt_is_held_from_its_first_use_on) {
  Scene s;
  s.machine.poke(s.ldt_frame, 1, Pte(data));
  ASSERT_TRUE(s.tables.set_ldt(s.domain.held, GuestVaddr(0), 2));
  EXPECT_EQ(s.frame(s.ldt_frame).type_count, 0U);
  EXPECT_EQ(s.tables.descriptor(s.domain.held, second_of_ldt), data);
  EXPECT_EQ(s.frame(s.ldt_frame).type, FrameType::seg_desc);
  EXPECT_EQ(s.tables.ldt_frames()[0], s.ldt_frame);
  s.tables.forget_ldt_pages(s.domain.held);
  EXPECT_EQ(s.frame(s.ldt_frame).type_count, 0U);
  EXPECT_EQ(s.tables.ldt_frames()[0].raw(), 0U);
}

TEST(DescriptorTables, descriptors_past_the_ldts_end_are_not_copied) {
  Scene s;
  s.machine.poke(s.ldt_frame, 0, Pte(code));
  s.machine.poke(s.ldt_frame, 1, Pte(data));
  ASSERT_TRUE(s.tables.set_ldt(s.domain.held, GuestVaddr(0), 1));
  EXPECT_EQ(s.tables.descriptor(s.domain.held, first_of_ldt), code);
  EXPECT_EQ(s.tables.descriptor(s.domain.held, second_of_ldt), 0U);
  s.tables.descriptor_changed(s.ldt_frame, 1, data);
  EXPECT_EQ(s.tables.descriptor(s.domain.held, second_of_ldt), 0U);
}

TEST(DescriptorTables, a_changed_descriptor_changes_every_copy_of_its_frame) {
  Scene s;
  const Mfn mfn = s.descriptor_page(data);
  ASSERT_TRUE(s.tables.set_gdt(s.domain.held, std::array{mfn, mfn}));
  s.tables.descriptor_changed(mfn, 0, code);
  EXPECT_EQ(s.copy(first_of_gdt), code);
  EXPECT_EQ(s.copy(static_cast<std::uint16_t>(entries_per_table * 8 + 3)), code);
  s.tables.descriptor_changed(s.descriptor_page(data), 0, data);
  EXPECT_EQ(s.copy(first_of_gdt), code) << "of another frame";
}

TEST(DescriptorTables, a_fault_in_the_ldt_brings_its_page_in) {
  Scene s;
  ASSERT_TRUE(s.tables.set_ldt(s.domain.held, GuestVaddr(0), 512));
  const GuestException raised{14, 0, ldt_copy + 8};
  const auto fault = s.tables.look_into_ldt(s.domain.held, raised, true);
  EXPECT_TRUE(fault.in_ldt);
  EXPECT_TRUE(fault.resolved);
  EXPECT_EQ(s.tables.ldt_frames()[0], s.ldt_frame);
}

TEST(DescriptorTables, a_fault_that_the_guests_ldt_has_too_is_the_guests) {
  Scene s;
  ASSERT_TRUE(s.tables.set_ldt(s.domain.held, GuestVaddr(4 * page_size), 600));
  const GuestException raised{14, 0, ldt_copy + 8};
  const auto fault = s.tables.look_into_ldt(s.domain.held, raised, true);
  EXPECT_TRUE(fault.in_ldt);
  EXPECT_FALSE(fault.resolved) << "nothing is mapped there";
  EXPECT_EQ(fault.exception.vector, 14);
  EXPECT_EQ(fault.exception.address, 4 * page_size + 8) << "where the guest has its LDT";
  EXPECT_EQ(fault.exception.error_code & 4, 4U) << "from user mode";
  EXPECT_EQ(s.tables.look_into_ldt(s.domain.held, raised, false).exception.error_code & 4, 0U);
}

TEST(DescriptorTables, past_the_ldts_limit_is_a_general_protection_fault) {
  Scene s;
  ASSERT_TRUE(s.tables.set_ldt(s.domain.held, GuestVaddr(0), 2));
  const auto fault = s.tables.look_into_ldt(s.domain.held, GuestException{14, 0, ldt_copy + 2 * 8 + 3}, true);
  EXPECT_TRUE(fault.in_ldt);
  EXPECT_FALSE(fault.resolved);
  EXPECT_EQ(fault.exception.vector, 13);
  EXPECT_EQ(fault.exception.error_code, 2U * 8 + 4);
}

TEST(DescriptorTables, other_faults_are_none_of_the_ldt) {
  Scene s;
  EXPECT_FALSE(s.tables.look_into_ldt(s.domain.held, GuestException{14, 0, 0x1000}, true).in_ldt);
  EXPECT_FALSE(s.tables.look_into_ldt(s.domain.held, GuestException{13, 0, ldt_copy}, true).in_ldt);
}

TEST(DescriptorTables, at_the_end_nothing_is_held) {
  Scene s;
  const Mfn mfn = s.descriptor_page(data);
  ASSERT_TRUE(s.tables.set_gdt(s.domain.held, std::array{mfn}));
  ASSERT_TRUE(s.tables.set_ldt(s.domain.held, GuestVaddr(0), 512));
  (void)s.tables.descriptor(s.domain.held, first_of_ldt);
  s.tables.drop(s.domain.held);
  EXPECT_EQ(s.frame(mfn).type_count, 0U);
  EXPECT_EQ(s.frame(s.ldt_frame).type_count, 0U);
  EXPECT_TRUE(s.tables.gdt_frames().empty());
  EXPECT_EQ(s.domain.findings(), std::vector<std::string>{});
}

}  // namespace
}  // namespace pinfold::vmm
