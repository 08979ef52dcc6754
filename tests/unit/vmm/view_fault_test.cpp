// What is said about an access that the guest's tables permit and its view does not.
#include "vmm/cpu/view_fault.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_machine.hpp"

namespace pinfold::vmm {
namespace {

using namespace pvmmu;
using namespace pvmmu::test;
using testing::HasSubstr;

struct Scene {
  Scene() {
    tree = build_tree(machine, domain);
    code = domain.allocate();
    machine.poke(tree.l1, 0, Pte(code, ro));
    machine.poke(tree.l1, 1, Pte(tree.l1, ro));  // its own table, read-only
    EXPECT_TRUE(domain.mmu.pin(domain.held, Level::l4, tree.l4));
    registers.rip = 0x10;
    registers[Gpr::rax] = page_size;
  }
  template <std::size_t n>
  [[nodiscard]] std::string explain(const std::array<std::uint8_t, n>& bytes) {
    return explain_view_fault(domain.held, domain.mmu,
                              {tree.l4, registers, {}, std::as_bytes(std::span(bytes)), CodeWidth::bits64});
  }

  FakeMachine machine{64};
  FakeDomain domain{machine, DomId(1)}, other{machine, DomId(2)};
  Tree tree{};
  Mfn code;
  Registers registers;
};

constexpr std::array<std::uint8_t, 3> store{0x48, 0x89, 0x08};  // mov %rcx, (%rax)
constexpr std::array<std::uint8_t, 3> load{0x48, 0x8b, 0x08};   // mov (%rax), %rcx

TEST(ViewFault, a_store_into_a_table_names_the_table_and_its_type) {
  Scene s;
  const std::string said = s.explain(store);
  EXPECT_THAT(said, HasSubstr("tried to write frame"));
  EXPECT_THAT(said, HasSubstr("the domain's own, typed"));
  EXPECT_THAT(said, HasSubstr("at 0x1000"));
}

TEST(ViewFault, a_load_from_a_table_is_nothing_that_the_view_forbids) {
  Scene s;
  EXPECT_THAT(s.explain(load), HasSubstr("touched a frame that its view keeps from it"));
}

TEST(ViewFault, code_that_can_t_be_decoded_is_not_guessed_at) {
  Scene s;
  EXPECT_THAT(s.explain(std::array<std::uint8_t, 1>{0x06}), HasSubstr("touched a frame"));
}

TEST(ViewFault, a_frame_by_its_number_is_nobodys_or_anothers) {
  Scene s;
  const Mfn foreign = s.other.allocate();
  EXPECT_THAT(explain_physical_access(s.domain.mmu, foreign, false), HasSubstr("which is domain 2's"));
  EXPECT_THAT(explain_physical_access(s.domain.mmu, Mfn(63), true), HasSubstr("which is nobody's"));
  EXPECT_THAT(explain_physical_access(s.domain.mmu, Mfn(1U << 20), true),
              HasSubstr("past the end of the machine"));
  EXPECT_THAT(explain_physical_access(s.domain.mmu, s.code, false), HasSubstr("which it may not"));
  EXPECT_THAT(explain_physical_access(s.domain.mmu, s.tree.l1, true), HasSubstr("tried to write"));
}

}  // namespace
}  // namespace pinfold::vmm
