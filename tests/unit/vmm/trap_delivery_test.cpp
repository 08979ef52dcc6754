// What the guest kernel finds on its stack and in its registers when it is entered, and what iret makes of
// it.
#include "vmm/cpu/trap_delivery.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>

namespace pinfold::vmm {
namespace {

/// Words of memory; a range of it can't be reached.
class Memory final : public GuestMemory {
 public:
  Status read(GuestVaddr from, std::span<std::byte> to) override {
    if (from.raw() >= broken) return fail(Errno::efault);
    for (std::size_t i = 0; i < to.size(); i += 8) std::memcpy(to.data() + i, &words[from.raw() + i], 8);
    return {};
  }
  Status write(GuestVaddr to, std::span<const std::byte> from) override {
    if (to.raw() >= broken) return fail(Errno::efault);
    for (std::size_t i = 0; i < from.size(); i += 8) std::memcpy(&words[to.raw() + i], from.data() + i, 8);
    return {};
  }
  [[nodiscard]] std::vector<std::uint64_t> at(std::uint64_t address, std::size_t count) {
    std::vector<std::uint64_t> found;
    for (std::size_t i = 0; i < count; ++i) found.push_back(words[address + 8 * i]);
    return found;
  }
  std::map<std::uint64_t, std::uint64_t> words;
  std::uint64_t broken = ~0ULL;
};

struct NoProcessor final : ProcessorBases {
  bool in_guest() const override { return false; }
  std::uint64_t fs() override { return 0; }
  std::uint64_t gs() override { return 0; }
  std::optional<std::uint64_t> inactive_gs() override { return 0; }
  std::optional<std::string> set_inactive_gs(std::uint64_t) override { return std::nullopt; }
};

constexpr std::uint64_t handler = 0xffffffff81000000, kernel_stack = 0x8000, stack = 0x4000;
constexpr std::uint64_t in_user = 0xe033, in_kernel = 0xe030;

struct Scene {
  Scene() {
    registers.rip = 0x1111;
    registers.rflags = rflags::fixed | rflags::if_ | rflags::tf | rflags::zf;
    registers[Gpr::rsp] = stack + 5;
    registers[Gpr::rcx] = 0xcc;
    registers[Gpr::r11] = 0xbb;
    registers.set_selectors(gate::code64, gate::data3);
    registers.changed = false;
    bases.set_all(1, 2, 3);
    traps.entry_points().kernel_sp = kernel_stack;
    for (const std::size_t vector : {3U, 6U, 13U, 14U})
      traps.entry_points().traps[vector] = {handler + vector, 0, 3, false};
    info().set_upcall_mask(false);
  }
  [[nodiscard]] VcpuInfo info() { return VcpuInfo(place); }
  [[nodiscard]] TrapDelivery::Guest guest() { return {memory, info()}; }
  void run_user() {
    traps.toggle_mode();
    state.user_root = Mfn(5);
  }

  Memory memory;
  VcpuInfoPlace place{SharedPage::of_monitor(), 0};
  GuestRegisters registers;
  CpuState state;
  NoProcessor processor;
  DomainEnd end{[] {}};
  BaseRegisters bases{processor, end};
  Assists assists;
  TrapDelivery traps{{registers, state, bases, assists}};
};

TEST(TrapDelivery, a_fault_of_the_kernel_lands_on_its_own_stack) {
  Scene s;
  ASSERT_FALSE(s.traps.deliver(s.guest(), {14, 2, 0x7777}));
  const std::uint64_t top = stack - 8 * 8;
  EXPECT_EQ(s.registers[Gpr::rsp], top);
  // RCX, R11, the error code, RIP, CS (RPL 0: of the kernel; events were not masked), flags, RSP, SS.
  EXPECT_EQ(s.memory.at(top, 8),
            (std::vector<std::uint64_t>{0xcc, 0xbb, 2, 0x1111, in_kernel,
                                        rflags::fixed | rflags::if_ | rflags::tf | rflags::zf, stack + 5,
                                        gate::data3}));
  EXPECT_EQ(s.registers.rip, handler + 14);
  EXPECT_EQ(s.info().cr2(), 0x7777U);
  EXPECT_EQ(s.registers.rflags & rflags::tf, 0U);
  EXPECT_TRUE(s.registers.changed);
}

TEST(TrapDelivery, a_fault_of_a_program_lands_on_the_kernels_stack_and_changes_modes) {
  Scene s;
  s.run_user();
  EXPECT_EQ(s.bases.active_gs(), 3U);
  ASSERT_FALSE(s.traps.deliver(s.guest(), {6, 99, 0}));
  const std::uint64_t top = kernel_stack - 7 * 8;
  EXPECT_EQ(s.registers[Gpr::rsp], top) << "#UD has no error code";
  EXPECT_EQ(s.memory.at(top, 4)[3], in_user);
  EXPECT_TRUE(s.state.kernel_mode);
  EXPECT_EQ(s.bases.active_gs(), 2U);
}

TEST(TrapDelivery, the_frame_says_whether_events_were_masked_and_a_handler_may_mask_them) {
  Scene s;
  s.traps.entry_points().traps[6].masks_events = true;
  ASSERT_FALSE(s.traps.deliver(s.guest(), {6, 0, 0}));
  EXPECT_TRUE(s.info().upcall_mask());
  ASSERT_FALSE(s.traps.deliver(s.guest(), {3, 0, 0}));
  const auto frame = s.memory.at(s.registers[Gpr::rsp], 5);
  EXPECT_EQ(frame[3] >> 32, 1U);
  EXPECT_EQ(frame[4] & rflags::if_, 0U);
}

TEST(TrapDelivery, virtual_iopl_shows_in_frames_for_guests_that_ask_for_it) {
  Scene s;
  s.state.iopl = 3;
  ASSERT_FALSE(s.traps.deliver(s.guest(), {6, 0, 0}));
  EXPECT_EQ(s.memory.at(s.registers[Gpr::rsp], 5)[4] & rflags::iopl, 0U);
  s.assists.architectural_iopl = true;
  ASSERT_FALSE(s.traps.deliver(s.guest(), {6, 0, 0}));
  EXPECT_EQ(s.memory.at(s.registers[Gpr::rsp], 5)[4] & rflags::iopl, rflags::iopl);
}

TEST(TrapDelivery, without_a_handler_or_a_stack_the_guest_can_t_go_on) {
  Scene s;
  EXPECT_TRUE(s.traps.deliver(s.guest(), {0, 0, 0}));
  s.memory.broken = 0;
  EXPECT_TRUE(s.traps.deliver(s.guest(), {6, 0, 0}));
  EXPECT_TRUE(s.traps.iret(s.guest()));
  EXPECT_EQ(s.registers.rip, 0x1111U);
}

TEST(TrapDelivery, an_event_masks_events) {
  Scene s;
  s.traps.entry_points().event = {handler, false};
  ASSERT_FALSE(s.traps.deliver_event(s.guest()));
  EXPECT_EQ(s.registers.rip, handler);
  EXPECT_TRUE(s.info().upcall_mask());
}

TEST(TrapDelivery, a_system_call_enters_by_the_width_of_its_code) {
  for (const bool compat : {false, true}) {
    Scene s;
    s.run_user();
    s.registers.cs = compat ? gate::code32 : gate::code64;
    s.registers.rflags |= rflags::df;
    s.traps.entry_points().syscall = {handler + 1, false};
    s.traps.entry_points().syscall32 = {handler + 2, true};
    ASSERT_FALSE(s.traps.deliver_syscall(s.guest()));
    EXPECT_EQ(s.registers.rip, handler + (compat ? 2 : 1));
    EXPECT_EQ(s.info().upcall_mask(), compat);
    EXPECT_EQ(s.registers.rflags & rflags::df, 0U);
    EXPECT_EQ(s.registers.cs, gate::code64);
  }
}

TEST(TrapDelivery, a_system_call_without_an_entry_is_an_invalid_opcode_at_it) {
  Scene s;
  s.run_user();
  ASSERT_FALSE(s.traps.deliver_syscall(s.guest()));
  EXPECT_EQ(s.registers.rip, handler + 6);
  EXPECT_EQ(s.memory.at(s.registers[Gpr::rsp], 3)[2], 0x1111U - 2);
}

TEST(TrapDelivery, int_n_needs_a_vector_that_the_mode_may_use) {
  Scene s;
  s.traps.entry_points().traps[0x80] = {handler + 0x80, 0, 1, false};
  ASSERT_FALSE(s.traps.software_interrupt(s.guest(), 0x80));
  EXPECT_EQ(s.registers.rip, handler + 0x80) << "the kernel may use DPL 1";
  EXPECT_EQ(s.memory.at(s.registers[Gpr::rsp], 3)[2], 0x1111U + 2) << "behind the instruction";
  s.run_user();
  ASSERT_FALSE(s.traps.software_interrupt(s.guest(), 0x80));
  EXPECT_EQ(s.registers.rip, handler + 13) << "a program may not";
  EXPECT_EQ(s.memory.at(s.registers[Gpr::rsp], 3)[2], 0x80U * 8 + 2);
}

struct Return : Scene {
  void frame(std::uint64_t flags, std::uint64_t cs, std::uint64_t rip = 0x2222) {
    const std::array<std::uint64_t, 9> words{1, 2, 3, flags, rip, cs, rflags::zf | rflags::if_, 0x9000, 0x2b};
    for (std::size_t i = 0; i < words.size(); ++i) memory.words[registers[Gpr::rsp] + 8 * i] = words[i];
  }
};

TEST(TrapDelivery, iret_restores_what_is_in_the_frame) {
  Return s;
  s.frame(0, in_kernel);
  s.info().set_upcall_mask(true);
  ASSERT_FALSE(s.traps.iret(s.guest()));
  EXPECT_EQ(s.registers[Gpr::rax], 1U);
  EXPECT_EQ(s.registers[Gpr::r11], 2U);
  EXPECT_EQ(s.registers[Gpr::rcx], 3U);
  EXPECT_EQ(s.registers.rip, 0x2222U);
  EXPECT_EQ(s.registers[Gpr::rsp], 0x9000U);
  EXPECT_EQ(s.registers.cs, in_user) << "both modes run at CPL3";
  EXPECT_TRUE(s.state.kernel_mode);
  EXPECT_FALSE(s.info().upcall_mask());
}

TEST(TrapDelivery, iret_to_rpl_3_is_to_user_mode_which_needs_a_page_table) {
  Return s;
  s.frame(0, in_user);
  EXPECT_TRUE(s.traps.iret(s.guest()));
  s.state.user_root = Mfn(5);
  ASSERT_FALSE(s.traps.iret(s.guest()));
  EXPECT_FALSE(s.state.kernel_mode);
  EXPECT_EQ(s.bases.active_gs(), 3U);
}

TEST(TrapDelivery, iret_of_a_system_call_leaves_rcx_and_r11_as_sysret_does) {
  Return s;
  s.frame(1U << 8, in_kernel);
  ASSERT_FALSE(s.traps.iret(s.guest()));
  EXPECT_EQ(s.registers[Gpr::rcx], 0x2222U);
  EXPECT_EQ(s.registers[Gpr::r11], s.registers.rflags);
}

TEST(TrapDelivery, iret_to_no_address_is_a_general_protection_fault) {
  Return s;
  s.frame(0, in_kernel, 1ULL << 60);
  ASSERT_FALSE(s.traps.iret(s.guest()));
  EXPECT_EQ(s.registers.rip, handler + 13);
}

TEST(TrapDelivery, an_nmi_enters_its_handler_with_events_masked_and_masks_further_ones) {
  Scene s;
  s.traps.entry_points().set_nmi_handler(handler);
  s.state.nmi.post();
  s.state.nmi.post();
  ASSERT_TRUE(s.state.nmi.is_due());
  EXPECT_FALSE(s.traps.deliver_nmi(s.guest()));
  EXPECT_EQ(s.registers.rip, handler);
  EXPECT_TRUE(s.info().upcall_mask());
  const auto frame = s.memory.at(s.registers[Gpr::rsp], 7);  // no error code
  EXPECT_EQ(frame[2], 0x1111U);
  EXPECT_TRUE(s.state.nmi.is_masked());
  EXPECT_FALSE(s.state.nmi.is_due()) << "two at once are one";
  s.state.nmi.post();
  EXPECT_FALSE(s.state.nmi.is_due());
}

TEST(TrapDelivery, an_iret_ends_the_masking_of_nmis) {
  Scene s;
  s.traps.entry_points().set_nmi_handler(handler);
  s.state.nmi.post();
  EXPECT_FALSE(s.traps.deliver_nmi(s.guest()));
  s.state.nmi.post();
  const std::array<std::uint64_t, 9> back{0, 0, 0, 0, 0x2222, in_kernel, rflags::if_, stack, gate::data3};
  s.registers[Gpr::rsp] = 0x100;
  for (std::size_t i = 0; i < back.size(); ++i) s.memory.words[0x100 + 8 * i] = back[i];
  EXPECT_FALSE(s.traps.iret(s.guest()));
  EXPECT_EQ(s.registers.rip, 0x2222U);
  EXPECT_TRUE(s.state.nmi.is_due());
}

TEST(TrapDelivery, an_nmi_without_a_handler_is_lost) {
  Scene s;
  s.traps.entry_points().set_nmi_handler(handler);
  s.traps.entry_points().set_nmi_handler(0);
  s.state.nmi.post();
  EXPECT_FALSE(s.traps.deliver_nmi(s.guest()));
  EXPECT_EQ(s.registers.rip, 0x1111U);
  s.traps.entry_points().set_nmi_handler(handler);
  EXPECT_FALSE(s.state.nmi.is_due());
  EXPECT_FALSE(s.state.nmi.is_masked());
}

}  // namespace
}  // namespace pinfold::vmm
