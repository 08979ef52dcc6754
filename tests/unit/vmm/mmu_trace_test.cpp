// Who made a hypercall: the caller of the hypercall page, as far as code and stack show it.
#include "vmm/cpu/mmu_trace.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "fake_machine.hpp"

namespace pinfold::vmm {
namespace {

using namespace pvmmu;
using namespace pvmmu::test;

constexpr std::uint64_t code_at = 0, stack_at = page_size, caller = 0xffffffff81234567;

struct Scene {
  Scene() {
    const Tree tree = build_tree(machine, domain);
    root = tree.l4;
    code = domain.allocate();
    stack = domain.allocate();
    machine.poke(tree.l1, 0, Pte(code, ro));
    machine.poke(tree.l1, 1, Pte(stack, ro));
    EXPECT_TRUE(domain.mmu.pin(domain.held, Level::l4, root));
    machine.poke(code, 0, Pte(0x595b41));  // pop %r11; pop %rcx
    registers.rip = code_at;
    registers[Gpr::rsp] = stack_at + 64;
    machine.poke(stack, 8 + 2, Pte(caller));
  }
  [[nodiscard]] std::uint64_t found() {
    return caller_of_hypercall(domain.held, domain.mmu, root, registers).raw();
  }

  FakeMachine machine{64};
  FakeDomain domain{machine, DomId(1)};
  Mfn root, code, stack;
  Registers registers;
};

TEST(MmuTrace, a_stub_of_the_hypercall_page_was_called_by_whoever_is_on_the_stack) {
  Scene s;
  EXPECT_EQ(s.found(), caller);
}

TEST(MmuTrace, other_code_asks_for_itself) {
  Scene s;
  s.machine.poke(s.code, 0, Pte(0x909090));
  EXPECT_EQ(s.found(), code_at);
}

TEST(MmuTrace, what_can_t_be_read_is_not_guessed) {
  Scene s;
  s.registers[Gpr::rsp] = 2 * page_size;  // nothing is mapped there
  EXPECT_EQ(s.found(), code_at);
  s.registers[Gpr::rsp] = stack_at + page_size - 16;  // past the end of the page
  EXPECT_EQ(s.found(), code_at);
  s.registers.rip = 4 * page_size;
  EXPECT_EQ(s.found(), 4 * page_size);
}

TEST(MmuTrace, looking_leaves_no_mark) {
  Scene s;
  const auto before = snapshot(s.machine.frames);
  (void)s.found();
  EXPECT_EQ(snapshot(s.machine.frames), before);
  EXPECT_EQ(s.domain.findings(), std::vector<std::string>{});
}

}  // namespace
}  // namespace pinfold::vmm
