// What a vCPU and its gate tell each other through the state page.
#include "vmm/cpu/gate_link.hpp"

#include <gtest/gtest.h>

namespace pinfold::vmm {
namespace {

using gate::GuestHandler;
using gate::StatePage;

struct FakeProcessor final : ProcessorBases {
  bool in_guest() const override { return false; }
  std::uint64_t fs() override { return 0; }
  std::uint64_t gs() override { return 0; }
  std::optional<std::uint64_t> inactive_gs() override { return kernel_gs; }
  std::optional<std::string> set_inactive_gs(std::uint64_t base) override {
    kernel_gs = base;
    return std::nullopt;
  }
  std::uint64_t kernel_gs = 0x30;
};

using Words = std::pair<std::uint64_t, std::uint64_t>;

struct Scene {
  [[nodiscard]] std::uint64_t state_page(gate::StateField field) const { return the_gate.state(0, field); }
  /// Address and flags.
  [[nodiscard]] Words handler(gate::StateHandler place) const {
    const std::size_t first = gate::StateField(&StatePage::iret, 0).word();
    const auto word = [&](std::size_t n) {
      return the_gate.state(0, gate::StateField(&StatePage::iret, place.word() + n - first));
    };
    return {word(0), word(1)};
  }
  void gate_sets(gate::StateField field, std::uint64_t value) { the_gate.set_state(0, field, value); }

  std::unique_ptr<Arena> arena =
      Arena::create(pvmmu::first_monitor_frame, Gate::pages_needed(1, 2048), 2048).value();
  Gate the_gate{*arena, 1, HostTraits{}, Mfn(0x4000000), page_size};
  CpuState state;
  EntryPoints points;
  FakeProcessor processor;
  DomainEnd end{[] {}};
  BaseRegisters bases{processor, end};
  Assists assists;
  GateLink link{{VcpuId(0), the_gate, state, points, bases, assists}};
};

TEST(GateLink, the_gate_gets_all_that_it_needs_before_an_entry) {
  Scene s;
  s.state.kernel_mode = false;
  s.state.task_switched = true;
  s.points.kernel_sp = 0x8000;
  s.points.kernel_ss = 0x2b;
  s.bases.set_all(1, 2, 3);
  s.link.give(0x111000, 0x222000, false);
  EXPECT_EQ(s.state_page(&StatePage::kernel_mode), 0U);
  EXPECT_EQ(s.state_page(&StatePage::task_switched), 1U);
  EXPECT_EQ(s.state_page(&StatePage::kernel_sp), 0x8000U);
  EXPECT_EQ(s.state_page(&StatePage::kernel_ss), 0x2bU);
  EXPECT_EQ(s.state_page(&StatePage::kernel_cr3), 0x111000U);
  EXPECT_EQ(s.state_page(&StatePage::user_cr3), 0x222000U);
  EXPECT_EQ(s.processor.kernel_gs, 3U);
}

TEST(GateLink, the_gate_gets_what_the_resident_path_needs) {
  Scene s;
  s.state.kernel_root = Mfn(0x123);
  s.link.give(0, 0, false);
  EXPECT_EQ(s.state_page(&StatePage::kernel_root), 0x123U);
  EXPECT_EQ(s.state_page(&StatePage::emulates_stores), 0U);
  EXPECT_EQ(s.state_page(&StatePage::cpu_plus_1), 0U);  // of a host without fast paths
  s.assists.writable_page_tables = true;
  s.link.give(0, 0, false);
  EXPECT_EQ(s.state_page(&StatePage::emulates_stores), 1U);
}

TEST(GateLink, the_gate_ignores_cli_only_if_the_kernel_may_use_it) {
  Scene s;
  s.link.give(0, 0, false);
  EXPECT_EQ(s.state_page(&StatePage::io_privileged), 0U);
  s.state.iopl = 1;
  s.link.give(0, 0, false);
  EXPECT_EQ(s.state_page(&StatePage::io_privileged), 1U);
  s.state.iopl = 0;
  s.assists.architectural_iopl = true;
  s.link.give(0, 0, false);
  EXPECT_EQ(s.state_page(&StatePage::io_privileged), 1U);
}

TEST(GateLink, entries_that_the_resident_path_stored_are_taken_once) {
  Scene s;
  const std::size_t first = offsetof(StatePage, resident_entries);
  const auto stored = gate::StateField::at(first + offsetof(pvmmu::MmuCounters, entries_stored));
  const auto checked = gate::StateField::at(first + offsetof(pvmmu::MmuCounters, entries_checked));
  s.gate_sets(stored, 7);
  s.gate_sets(checked, 5);
  const pvmmu::MmuCounters taken = s.link.take_entries();
  EXPECT_EQ(taken.entries_stored, 7U);
  EXPECT_EQ(taken.entries_checked, 5U);
  EXPECT_EQ(s.link.take_entries().entries_stored, 0U);
  EXPECT_EQ(s.state_page(checked), 0U);
}

TEST(GateLink, handlers_are_given_after_each_change) {
  Scene s;
  s.points.syscall = {0x1000, true};
  s.points.traps[14] = {0x2000, 0, 0, true};
  s.link.give(0, 0, false);
  EXPECT_FALSE(s.points.changed);
  EXPECT_EQ(s.handler(&StatePage::syscall),
            (Words{0x1000, GuestHandler::masks_events | GuestHandler::clears_df}));
  EXPECT_EQ(s.handler({&StatePage::traps, 14}), (Words{0x2000, GuestHandler::masks_events}));
  s.points.traps[14] = {};
  s.points.changed = true;
  s.link.give(0, 0, false);
  EXPECT_EQ(s.handler({&StatePage::traps, 14}), (Words{0, 0}));
}

TEST(GateLink, what_the_gate_changed_is_taken_over) {
  Scene s;
  s.bases.set_all(1, 2, 3);
  s.link.give(0, 0, false);
  s.gate_sets(&StatePage::kernel_mode, 0);
  s.gate_sets(&StatePage::kernel_sp, 0x9000);
  s.gate_sets(&StatePage::kernel_ss, 0xffff'0033);
  s.gate_sets(&StatePage::task_switched, 1);
  EXPECT_TRUE(s.link.task_switched_differs());
  EXPECT_EQ(s.link.take(), 0U);
  EXPECT_FALSE(s.state.kernel_mode);
  EXPECT_EQ(s.points.kernel_sp, 0x9000U);
  EXPECT_EQ(s.points.kernel_ss, 0x33U);
  EXPECT_TRUE(s.state.task_switched);
  EXPECT_FALSE(s.link.task_switched_differs());
  EXPECT_EQ(s.bases.inactive_gs(), 3U) << "the gate has not swapped them";
}

TEST(GateLink, bases_that_the_gate_swapped_are_asked_for) {
  Scene s;
  s.bases.set_all(1, 2, 3);
  s.link.give(0, 0, false);
  s.gate_sets(&StatePage::gs_moved, 1);
  s.processor.kernel_gs = 0x77;
  (void)s.link.take();
  EXPECT_EQ(s.bases.inactive_gs(), 0x77U);
}

TEST(GateLink, a_step_that_the_gate_bounced_shows_in_dr6) {
  Scene s;
  s.link.give(0, 0, false);
  (void)s.link.take();
  EXPECT_EQ(s.state.debug.get(6) & 0x4000, 0U);
  s.gate_sets(&StatePage::single_stepped, 1);
  (void)s.link.take();
  EXPECT_EQ(s.state.debug.get(6) & 0x4000, 0x4000U);
}

TEST(GateLink, the_gate_leaves_debug_exceptions_to_the_monitor_while_there_are_breakpoints) {
  Scene s;
  s.link.give(0, 0, false);
  EXPECT_EQ(s.state_page(&StatePage::watches), 0U);
  ASSERT_TRUE(s.state.debug.set(7, 1, false));
  s.link.give(0, 0, false);
  EXPECT_NE(s.state_page(&StatePage::watches), 0U);
  ASSERT_TRUE(s.state.debug.set(7, 0, false));
  s.link.give(0, 0, false);
  EXPECT_EQ(s.state_page(&StatePage::watches), 0U);
}

TEST(GateLink, interruptions_in_the_gate_are_counted_at_the_next_exit) {
  Scene s;
  s.link.give(0, 0, false);
  s.link.ask_to_come_out();
  s.link.ask_to_come_out();
  EXPECT_NE(s.state_page(&StatePage::attention), 0U);
  EXPECT_EQ(s.link.take(), 2U);
  EXPECT_EQ(s.link.take(), 0U);
  s.link.give(0, 0, false);
  EXPECT_EQ(s.state_page(&StatePage::attention), 0U);
}

TEST(GateLink, the_vcpu_may_go_on_in_the_gate_where_that_left) {
  Scene s;
  EXPECT_FALSE(s.link.may_resume());
  for (const GateExit why :
       {GateExit::syscall, GateExit::exception, GateExit::returning, GateExit::refused}) {
    s.link.note_exit(why);
    EXPECT_TRUE(s.link.may_resume());
  }
  for (const GateExit why : {GateExit::none, GateExit::broken}) {
    s.link.note_exit(why);
    EXPECT_FALSE(s.link.may_resume());
  }
  s.link.note_exit(GateExit::syscall);
  (void)s.link.take();
  EXPECT_FALSE(s.link.may_resume()) << "the next exit is another one";
}

TEST(GateLink, a_refused_return_has_a_vector_that_exists) {
  Scene s;
  s.gate_sets(&StatePage::refused_vector, 0xffff'ffff'ffff'ff0d);
  s.gate_sets(&StatePage::refused_error, 0x18);
  const GuestException raised = s.link.refused_return(0x5000);
  EXPECT_EQ(raised.vector, 13);
  EXPECT_EQ(raised.error_code, 0x18U);
  EXPECT_EQ(raised.address, 0x5000U);
}

TEST(GateLink, virtual_iopl_is_for_guests_that_ask_for_it) {
  Scene s;
  s.state.iopl = 3;
  s.link.give(0, 0, false);
  EXPECT_EQ(s.state_page(&StatePage::iopl), 0U);
  EXPECT_EQ(s.state_page(&StatePage::iopl_check), 0U);
  s.assists.architectural_iopl = true;
  s.link.give(0, 0, false);
  EXPECT_EQ(s.state_page(&StatePage::iopl), 3U << 12);
  EXPECT_NE(s.state_page(&StatePage::iopl_check), 0U);
}

TEST(GateLink, an_iret_is_the_monitors_while_nmis_are_masked) {
  Scene s;
  s.link.give(0, 0, false);
  EXPECT_EQ(s.state_page(&StatePage::iret_leaves), 0U);
  s.state.nmi.begin();
  s.link.give(0, 0, false);
  EXPECT_NE(s.state_page(&StatePage::iret_leaves), 0U);
  s.state.nmi.unmask();
  s.link.give(0, 0, false);
  EXPECT_EQ(s.state_page(&StatePage::iret_leaves), 0U);
}

TEST(GateLink, roots_are_the_monitors_where_they_are_more_than_tables) {
  Scene s;
  s.link.give(0, 0, false);
  EXPECT_EQ(s.state_page(&StatePage::roots_leave), 0U);
  s.link.give(0, 0, true);
  EXPECT_NE(s.state_page(&StatePage::roots_leave), 0U);
  s.link.give(0, 0, false);
  s.assists.m2p_strict = true;
  s.link.give_assists();
  EXPECT_NE(s.state_page(&StatePage::roots_leave), 0U);
  s.assists.m2p_strict = false;
  s.link.give_assists();
  EXPECT_EQ(s.state_page(&StatePage::roots_leave), 0U);
}

TEST(GateLink, an_assist_is_known_to_a_vcpu_that_is_in_the_guest) {
  Scene s;
  s.link.give(0, 0, true);
  s.assists.writable_page_tables = true;
  s.link.give_assists();
  EXPECT_NE(s.state_page(&StatePage::emulates_stores), 0U);
  EXPECT_NE(s.state_page(&StatePage::roots_leave), 0U) << "the LDT is still there";
}

TEST(GateLink, roots_are_what_the_gate_says) {
  Scene s;
  s.state.kernel_root = Mfn(7);
  s.state.user_root = no_mfn;
  s.link.give(0, 0, false);
  EXPECT_EQ(s.link.roots().kernel, Mfn(7));
  EXPECT_EQ(s.link.roots().user, no_mfn);
  s.gate_sets(&StatePage::user_root, 0xffff'0000'1234'5678);
  EXPECT_EQ(s.link.roots().user, Mfn(0xffff'0000'1234'5678));
}

}  // namespace
}  // namespace pinfold::vmm
