#include "vmm/emulate/privileged.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "vmm/emulate/forced_emulation.hpp"
#include "vmm/emulate/msr.hpp"

namespace pinfold::vmm {
namespace {

using Bytes = std::vector<std::uint8_t>;

/// Memory that is mapped only in [begin, begin + size).
class FakeMemory : public GuestMemory {
 public:
  Status read(GuestVaddr from, std::span<std::byte> to) override {
    for (std::size_t i = 0; i < to.size(); ++i) {
      if (!mapped(from.raw() + i)) return fail(Errno::efault);
      to[i] = bytes[from.raw() + i - begin];
    }
    return {};
  }
  Status write(GuestVaddr to, std::span<const std::byte> from) override {
    for (std::size_t i = 0; i < from.size(); ++i) {
      if (!mapped(to.raw() + i)) return fail(Errno::efault);
      bytes[to.raw() + i - begin] = from[i];
    }
    return {};
  }
  std::uint64_t begin = 0x10000;
  std::vector<std::byte> bytes = std::vector<std::byte>(0x2000);

 private:
  [[nodiscard]] bool mapped(std::uint64_t address) const { return address - begin < bytes.size(); }
};

class FakeState : public PrivilegedState {
 public:
  tl::expected<std::uint64_t, Errno> read_cr(unsigned n) override { return cr[n]; }
  Status write_cr(unsigned n, std::uint64_t value) override {
    if (cr_error) return fail(*cr_error);
    cr[n] = value;
    return {};
  }
  void clear_ts() override { cr[0] &= ~8ULL; }
  tl::expected<std::uint64_t, Errno> read_dr(unsigned n) override { return dr[n]; }
  Status write_dr(unsigned n, std::uint64_t value) override {
    if (dr_refused) return fail(Errno::eperm);
    dr[n] = value;
    return {};
  }
  tl::expected<std::uint64_t, Errno> read_msr(std::uint32_t index) override {
    if (!msrs.contains(index)) return tl::unexpected(Errno::eperm);
    return msrs[index];
  }
  Status write_msr(std::uint32_t index, std::uint64_t value) override {
    if (!msrs.contains(index)) return fail(Errno::eperm);
    msrs[index] = value;
    return {};
  }
  std::uint64_t read_tsc() override { return 0x1122334455667788; }
  CpuidResult cpuid(std::uint32_t leaf, std::uint32_t subleaf, bool) override {
    return {leaf + 1, subleaf + 2, 3, 4};
  }
  bool cpuid_faults_in_user() override { return cpuid_faulting; }
  Status xsetbv(std::uint32_t index, std::uint64_t value) override {
    if (index != 0 || value != 7) return fail(Errno::einval);
    xcr0 = value;
    return {};
  }
  bool io_privileged(bool kernel_mode) override { return iopl >= (kernel_mode ? 1U : 3U); }
  bool ports_allowed(std::uint16_t, unsigned, bool kernel_mode) override {
    return bitmap_allows_all || io_privileged(kernel_mode);
  }
  std::uint32_t port_in(std::uint16_t port, unsigned size) override {
    ins.push_back({port, size});
    return next_in++;
  }
  void port_out(std::uint16_t port, unsigned size, std::uint32_t value) override {
    outs.push_back({port, size, value});
  }
  std::uint64_t ports_hit(std::uint16_t port, unsigned) override { return port == watched_port ? 2 : 0; }
  GuestMemory& memory() override { return fake_memory; }
  std::uint32_t watched_port = 0x10000;  ///< None.

  struct In {
    std::uint16_t port;
    unsigned size;
  };
  struct Out {
    std::uint16_t port;
    unsigned size;
    std::uint32_t value;
    bool operator==(const Out&) const = default;
  };
  std::map<unsigned, std::uint64_t> cr{{0, 0x80050033}, {2, 0xdead}, {3, 0x5000}, {4, 0}}, dr;
  std::map<std::uint32_t, std::uint64_t> msrs;
  std::optional<Errno> cr_error;
  bool dr_refused = false, cpuid_faulting = false, bitmap_allows_all = false;
  std::uint64_t xcr0 = 1;
  unsigned iopl = 1;
  std::uint32_t next_in = 0xaabbcc00;
  std::vector<In> ins;
  std::vector<Out> outs;
  FakeMemory fake_memory;
};

class Privileged : public ::testing::Test {
 protected:
  Privileged() {
    regs.rip = start;
    for (std::size_t i = 0; i < 16; ++i) regs.gpr[i] = 0xf0f0f0f000000000 + i;
  }
  Outcome run(const Bytes& bytes, bool kernel_mode = true, CodeWidth width = CodeWidth::bits64) {
    before = regs;
    return emulate_privileged(regs, kernel_mode, std::as_bytes(std::span(bytes)), state, width);
  }
  /// The instruction was emulated, and RIP is behind it.
  bool emulated(const Bytes& bytes, bool kernel_mode = true) {
    const std::uint64_t from = regs.rip;
    return std::holds_alternative<Emulated>(run(bytes, kernel_mode)) && regs.rip == from + bytes.size();
  }
  /// The exception with this vector and error code 0; nothing else changed.
  bool refused(const Bytes& bytes, bool kernel_mode = true, unsigned vector = 13) {
    const Outcome outcome = run(bytes, kernel_mode);
    const auto* exception = std::get_if<Exception>(&outcome);
    return exception != nullptr && exception->vector == vector && exception->error_code == 0 &&
           regs.gpr == before.gpr && regs.rip == before.rip && regs.rflags == before.rflags;
  }

  static constexpr std::uint64_t start = 0xffffffff81000ffe;
  Registers regs, before;
  FakeState state;
};

const Bytes mov_cr3_rax{0x0f, 0x22, 0xd8}, mov_rax_cr3{0x0f, 0x20, 0xd8}, rdmsr{0x0f, 0x32},
    wrmsr{0x0f, 0x30}, rdtsc{0x0f, 0x31}, rdtscp{0x0f, 0x01, 0xf9}, cpuid{0x0f, 0xa2}, cli{0xfa}, sti{0xfb},
    xsetbv{0x0f, 0x01, 0xd1};

TEST_F(Privileged, control_registers_move_both_ways) {
  EXPECT_TRUE(emulated(mov_rax_cr3));
  EXPECT_EQ(regs[Gpr::rax], 0x5000U);
  regs[Gpr::rax] = 0x123000;
  EXPECT_TRUE(emulated(mov_cr3_rax));
  EXPECT_EQ(state.cr[3], 0x123000U);
  EXPECT_TRUE(emulated({0x41, 0x0f, 0x20, 0xd7}));  // mov %cr2,%r15
  EXPECT_EQ(regs[Gpr::r15], 0xdeadU);
  EXPECT_TRUE(emulated({0x0f, 0x22, 0xe1}));  // mov %rcx,%cr4
  EXPECT_EQ(state.cr[4], regs[Gpr::rcx]);
}

TEST_F(Privileged, mod_bits_of_a_control_register_move_are_ignored) {
  EXPECT_TRUE(emulated({0x0f, 0x20, 0x18}));  // as mov %cr3,%rax, with mod 0 (Intel SDM vol. 2)
  EXPECT_EQ(regs[Gpr::rax], 0x5000U);
}

TEST_F(Privileged, control_register_that_does_not_exist_is_refused) {
  EXPECT_TRUE(refused({0x0f, 0x20, 0xc8}));        // CR1
  EXPECT_TRUE(refused({0x44, 0x0f, 0x20, 0xc0}));  // CR8
}

TEST_F(Privileged, user_mode_gets_its_fault) {
  for (const Bytes& bytes : {mov_cr3_rax, mov_rax_cr3, rdmsr, wrmsr, xsetbv, Bytes{0x0f, 0x06},
                             Bytes{0x0f, 0x09}, Bytes{0x0f, 0x21, 0xf0}})
    EXPECT_TRUE(refused(bytes, false)) << int(bytes[1]);
}

TEST_F(Privileged, a_refused_write_is_a_general_protection_fault) {
  state.cr_error = Errno::einval;
  EXPECT_TRUE(refused(mov_cr3_rax));
  state.dr_refused = true;
  EXPECT_TRUE(refused({0x0f, 0x23, 0xf8}));
  EXPECT_TRUE(refused(rdmsr));
  EXPECT_TRUE(refused(wrmsr));
}

TEST_F(Privileged, an_unfinished_cr3_load_starts_again) {
  state.cr_error = Errno::erestart;
  EXPECT_TRUE(std::holds_alternative<Restart>(run(mov_cr3_rax)));
  EXPECT_EQ(regs.rip, start);
}

TEST_F(Privileged, clts_clears_ts_only) {
  state.cr[0] = 0x8005003b;
  EXPECT_TRUE(emulated({0x0f, 0x06}));
  EXPECT_EQ(state.cr[0], 0x80050033U);
}

TEST_F(Privileged, debug_registers_4_and_5_are_6_and_7_unless_debugging_extensions) {
  state.dr[6] = 0xffff0ff0;
  EXPECT_TRUE(emulated({0x0f, 0x21, 0xe0}));  // mov %dr4,%rax
  EXPECT_EQ(regs[Gpr::rax], 0xffff0ff0U);
  EXPECT_TRUE(emulated({0x0f, 0x23, 0xe8}));  // mov %rax,%dr5
  EXPECT_EQ(state.dr[7], 0xffff0ff0U);
  state.cr[4] = 1U << 3;
  EXPECT_TRUE(refused({0x0f, 0x21, 0xe0}, true, 6));
}

TEST_F(Privileged, msr_halves_are_edx_and_eax) {
  regs[Gpr::rcx] = 0xffffffff00000000 | msr::gs_base;  // the upper half is not looked at
  state.msrs[msr::gs_base] = 0xffff888011223344;
  EXPECT_TRUE(emulated(rdmsr));
  EXPECT_EQ(regs[Gpr::rax], 0x11223344U);
  EXPECT_EQ(regs[Gpr::rdx], 0xffff8880U);
  regs[Gpr::rdx] = 0xffffffff00000001;
  regs[Gpr::rax] = 0xffffffff00000002;
  EXPECT_TRUE(emulated(wrmsr));
  EXPECT_EQ(state.msrs[msr::gs_base], 0x100000002U);
}

TEST_F(Privileged, time_stamp_is_read_by_the_kernel_and_by_users_that_may) {
  EXPECT_TRUE(emulated(rdtsc));
  EXPECT_EQ(regs[Gpr::rax], 0x55667788U);
  EXPECT_EQ(regs[Gpr::rdx], 0x11223344U);
  EXPECT_TRUE(emulated(rdtsc, false));
  state.cr[4] = 1U << 2;
  EXPECT_TRUE(emulated(rdtsc));
  EXPECT_TRUE(refused(rdtsc, false));
}

TEST_F(Privileged, rdtscp_is_undefined_unless_the_guest_has_its_msr) {
  EXPECT_TRUE(refused(rdtscp, true, 6));
  state.msrs[msr::tsc_aux] = 5;
  EXPECT_TRUE(emulated(rdtscp));
  EXPECT_EQ(regs[Gpr::rcx], 5U);
}

TEST_F(Privileged, cpuid_answers_in_whole_registers) {
  regs[Gpr::rax] = 0xffffffff00000007;
  regs[Gpr::rcx] = 0xffffffff00000001;
  EXPECT_TRUE(emulated(cpuid, false));
  EXPECT_EQ(regs[Gpr::rax], 8U);
  EXPECT_EQ(regs[Gpr::rbx], 3U);
  EXPECT_EQ(regs[Gpr::rcx], 3U);
  EXPECT_EQ(regs[Gpr::rdx], 4U);
}

TEST_F(Privileged, cpuid_faults_in_user_mode_when_the_guest_asked_for_that) {
  state.cpuid_faulting = true;
  EXPECT_TRUE(refused(cpuid, false));
  EXPECT_TRUE(emulated(cpuid, true));
}

TEST_F(Privileged, forced_cpuid_moves_past_prefix_and_instruction) {
  EXPECT_TRUE(std::holds_alternative<Emulated>(emulate_forced_cpuid(regs, false, state)));
  EXPECT_EQ(regs.rip, start + forced_cpuid_length);
  state.cpuid_faulting = true;
  const Outcome outcome = emulate_forced_cpuid(regs, false, state);
  EXPECT_TRUE(std::holds_alternative<Exception>(outcome));
  EXPECT_EQ(regs.rip, start + forced_cpuid_length + forced_prefix_length);
}

TEST_F(Privileged, xsetbv_is_for_the_state_to_judge) {
  regs[Gpr::rcx] = 0;
  regs[Gpr::rdx] = 0;
  regs[Gpr::rax] = 7;
  EXPECT_TRUE(emulated(xsetbv));
  EXPECT_EQ(state.xcr0, 7U);
  regs[Gpr::rax] = 6;
  EXPECT_TRUE(refused(xsetbv));
}

TEST_F(Privileged, cli_and_sti_need_io_privilege_and_change_nothing) {
  EXPECT_TRUE(emulated(cli));
  EXPECT_EQ(regs.rflags, 0x202U);
  EXPECT_TRUE(emulated(sti));
  EXPECT_TRUE(refused(cli, false));
  state.iopl = 3;
  EXPECT_TRUE(emulated(cli, false));
  state.iopl = 0;
  EXPECT_TRUE(refused(cli));
}

TEST_F(Privileged, cache_writeback_is_ignored) {
  EXPECT_TRUE(emulated({0x0f, 0x09}));
  EXPECT_TRUE(emulated({0xf3, 0x0f, 0x09}));
}

TEST_F(Privileged, everything_else_is_the_guests) {
  const std::vector<Bytes> others{
      {0xf4},              // hlt
      {0x0f, 0x01, 0x10},  // lgdt
      {0x0f, 0x01, 0x18},  // lidt
      {0x0f, 0x00, 0xd0},  // lldt
      {0x0f, 0x00, 0xd8},  // ltr
      {0x0f, 0x01, 0x38},  // invlpg
      {0x0f, 0x01, 0xf8},  // swapgs
      {0x0f, 0x08},        // invd
      {0x48, 0x0f, 0x07},  // sysret
      {0x48, 0xcf},        // iretq
      {0x0f, 0x01, 0xf0},  // lmsw
      {0x8e, 0xd8},        // mov %eax,%ds
      {0x48, 0x8b, 0x00},  // mov (%rax),%rax
      {0x06},              // no instruction
      {0xf0, 0x0f, 0x30},  // lock wrmsr
  };
  for (const Bytes& bytes : others) EXPECT_TRUE(refused(bytes)) << int(bytes[0]) << ' ' << int(bytes.back());
}

TEST_F(Privileged, a_short_fetch_is_a_page_fault_at_the_missing_byte) {
  const Outcome outcome = run({0x0f, 0x22});
  const auto* fault = std::get_if<PageFault>(&outcome);
  ASSERT_NE(fault, nullptr);
  EXPECT_EQ(fault->address.raw(), start + 2);
  EXPECT_TRUE(fault->fetch);
  EXPECT_EQ(regs.rip, start);
}

TEST_F(Privileged, resume_flag_ends_and_single_step_is_reported) {
  regs.rflags |= rflags::rf | rflags::tf;
  const Outcome outcome = run(cli);
  ASSERT_TRUE(std::holds_alternative<Emulated>(outcome));
  EXPECT_TRUE(std::get<Emulated>(outcome).single_step);
  EXPECT_EQ(regs.rflags & rflags::rf, 0U);
  regs.rflags &= ~rflags::tf;
  EXPECT_FALSE(std::get<Emulated>(run(cli)).single_step);
}

TEST_F(Privileged, port_input_takes_the_operands_size) {
  regs[Gpr::rax] = 0x1111111111111111;
  state.next_in = 0xaabbccdd;
  EXPECT_TRUE(emulated({0xe4, 0x61}));  // in $0x61,%al
  EXPECT_EQ(regs[Gpr::rax], 0x11111111111111ddU);
  regs[Gpr::rdx] = 0xffff03f8;
  EXPECT_TRUE(emulated({0x66, 0xed}));  // in %dx,%ax
  EXPECT_EQ(regs[Gpr::rax], 0x111111111111ccdeU);
  EXPECT_TRUE(emulated({0xed}));
  EXPECT_EQ(regs[Gpr::rax], 0xaabbccdfU);
  ASSERT_EQ(state.ins.size(), 3U);
  EXPECT_EQ(state.ins[0].port, 0x61);
  EXPECT_EQ(state.ins[1].port, 0x3f8);
  EXPECT_EQ(state.ins[2].size, 4U);
}

TEST_F(Privileged, breakpoints_on_ports_are_reported_behind_the_access) {
  state.watched_port = 0x61;
  EXPECT_EQ(std::get<Emulated>(run({0xe4, 0x61})).breakpoints, 2U);  // in $0x61,%al
  EXPECT_EQ(std::get<Emulated>(run({0xe6, 0x61})).breakpoints, 2U);
  EXPECT_EQ(std::get<Emulated>(run({0xe6, 0x62})).breakpoints, 0U);
}

TEST_F(Privileged, port_output_takes_the_operands_size) {
  regs[Gpr::rax] = 0x1122334455667788;
  regs[Gpr::rdx] = 0xcf8;
  EXPECT_TRUE(emulated({0xe6, 0xff}));
  EXPECT_TRUE(emulated({0x66, 0xef}));
  EXPECT_TRUE(emulated({0x48, 0xef}));  // there is no 8-byte port
  const std::vector<FakeState::Out> expected{{0xff, 1, 0x88}, {0xcf8, 2, 0x7788}, {0xcf8, 4, 0x55667788}};
  EXPECT_EQ(state.outs, expected);
}

TEST_F(Privileged, ports_need_permission) {
  const std::vector<Bytes> accesses{{0xe4, 0x61}, {0xe6, 0x61}, {0xec}, {0xee}, {0x6c}, {0x6e}, {0xf3, 0x6d}};
  for (const Bytes& bytes : accesses) EXPECT_TRUE(refused(bytes, false));
  EXPECT_TRUE(state.ins.empty() && state.outs.empty());
  state.bitmap_allows_all = true;
  EXPECT_TRUE(emulated({0xe4, 0x61}, false));
}

TEST_F(Privileged, string_output_reads_memory) {
  regs[Gpr::rsi] = 0x10000;
  regs[Gpr::rcx] = 3;
  for (int i = 0; i < 12; ++i) state.fake_memory.bytes[static_cast<std::size_t>(i)] = std::byte(i);
  EXPECT_TRUE(emulated({0xf3, 0x6f}));
  ASSERT_EQ(state.outs.size(), 3U);
  EXPECT_EQ(state.outs[1].value, 0x07060504U);
  EXPECT_EQ(regs[Gpr::rcx], 0U);
  EXPECT_EQ(regs[Gpr::rsi], 0x1000cU);
}

TEST_F(Privileged, string_input_writes_memory_backwards_when_told) {
  regs[Gpr::rdi] = 0x10001;
  regs[Gpr::rcx] = 2;
  regs.rflags |= rflags::df;
  state.next_in = 0x10;
  EXPECT_TRUE(emulated({0xf3, 0x6c}));
  EXPECT_EQ(state.fake_memory.bytes[1], std::byte{0x10});
  EXPECT_EQ(state.fake_memory.bytes[0], std::byte{0x11});
  EXPECT_EQ(regs[Gpr::rdi], 0xffffU);
}

TEST_F(Privileged, string_with_count_0_does_nothing) {
  regs[Gpr::rcx] = 0;
  EXPECT_TRUE(emulated({0xf3, 0x6e}));
  EXPECT_TRUE(state.outs.empty());
}

TEST_F(Privileged, string_uses_the_segment_base_and_the_address_size) {
  state.msrs[msr::gs_base] = 0x10000;
  regs[Gpr::rsi] = 0xffffffff00000010;
  state.fake_memory.bytes[0x10] = std::byte{0x5a};
  EXPECT_TRUE(emulated({0x65, 0x67, 0x6e}));
  EXPECT_EQ(state.outs.at(0).value, 0x5aU);
  EXPECT_EQ(regs[Gpr::rsi], 0x11U);  // 32-bit arithmetic clears the upper half
}

TEST_F(Privileged, string_faults_at_the_byte_that_is_not_mapped) {
  regs[Gpr::rdi] = 0x11ffe;
  regs[Gpr::rcx] = 4;
  const Outcome outcome = run({0xf3, 0x6d});
  const auto* fault = std::get_if<PageFault>(&outcome);
  ASSERT_NE(fault, nullptr);
  EXPECT_EQ(fault->address.raw(), 0x12000U);
  EXPECT_TRUE(fault->write);
  EXPECT_EQ(regs.rip, start);
  EXPECT_EQ(regs[Gpr::rcx], 4U);
}

TEST_F(Privileged, string_keeps_what_it_did_before_a_fault) {
  regs[Gpr::rsi] = 0x11ffe;
  regs[Gpr::rcx] = 4;
  const Outcome outcome = run({0xf3, 0x6e});
  ASSERT_TRUE(std::holds_alternative<PageFault>(outcome));
  EXPECT_EQ(regs[Gpr::rcx], 2U);
  EXPECT_EQ(regs[Gpr::rsi], 0x12000U);
  EXPECT_EQ(state.outs.size(), 2U);
}

// XSA-67: the address of an OUTS was used without a check.
TEST_F(Privileged, string_at_an_address_that_is_not_canonical_faults) {
  regs[Gpr::rsi] = 0x8000000000000000;
  EXPECT_TRUE(refused({0x6e}));
  EXPECT_TRUE(refused({0x36, 0x6e}));  // an SS override means nothing in 64-bit mode
  regs[Gpr::rsi] = 0x00007ffffffffffe;
  EXPECT_TRUE(refused({0x6f}));
}

TEST_F(Privileged, long_string_is_done_in_bounded_parts) {
  regs[Gpr::rsi] = 0x10000;
  regs[Gpr::rcx] = max_string_elements + 5;
  EXPECT_TRUE(std::holds_alternative<Restart>(run({0xf3, 0x6e})));
  EXPECT_EQ(regs.rip, start);
  EXPECT_EQ(regs[Gpr::rcx], 5U);
  EXPECT_TRUE(emulated({0xf3, 0x6e}));
  EXPECT_EQ(state.outs.size(), max_string_elements + 5);
}

TEST_F(Privileged, breakpoints_on_ports_stop_a_string_after_each_element) {
  state.watched_port = 0;
  regs[Gpr::rsi] = 0x10000;
  regs[Gpr::rdx] = 0;
  regs[Gpr::rcx] = 2;
  const Outcome first = run({0xf3, 0x6e});
  ASSERT_TRUE(std::holds_alternative<Emulated>(first));
  EXPECT_EQ(std::get<Emulated>(first).breakpoints, 2U);
  EXPECT_EQ(regs.rip, start);
  EXPECT_EQ(std::get<Emulated>(run({0xf3, 0x6e})).breakpoints, 2U);
  EXPECT_EQ(regs.rip, start + 2);
  EXPECT_EQ(std::get<Emulated>(run({0xf3, 0x6e})).breakpoints, 0U) << "RCX is 0: no access";
}

TEST_F(Privileged, single_step_stops_after_each_element) {
  regs[Gpr::rsi] = 0x10000;
  regs[Gpr::rcx] = 2;
  regs.rflags |= rflags::tf;
  const Outcome outcome = run({0xf3, 0x6e});
  ASSERT_TRUE(std::holds_alternative<Emulated>(outcome));
  EXPECT_TRUE(std::get<Emulated>(outcome).single_step);
  EXPECT_EQ(regs.rip, start);
  EXPECT_EQ(regs[Gpr::rcx], 1U);
}

TEST_F(Privileged, compatibility_mode_decodes_its_own_instructions) {
  regs.rip = 0xffffffff;
  // In 32-bit code 0x40 is INC, and RIP has 32 bits.
  EXPECT_TRUE(std::holds_alternative<Exception>(run({0x40, 0xfa}, true, CodeWidth::bits32)));
  EXPECT_TRUE(std::holds_alternative<Emulated>(run({0xfa}, true, CodeWidth::bits32)));
  EXPECT_EQ(regs.rip, 0U);
  EXPECT_TRUE(std::holds_alternative<Exception>(run({0x6e}, true, CodeWidth::bits32)));
}

TEST_F(Privileged, no_bytes_whatever_change_registers_unless_emulated) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 200000; ++round) {
    Bytes bytes(random() % 16);
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
    static constexpr std::uint8_t second[]{0x00, 0x01, 0x06, 0x09, 0x20, 0x21,
                                           0x22, 0x23, 0x30, 0x31, 0x32, 0xa2};
    if (bytes.size() > 2 && round % 2 == 0) {
      bytes[0] = 0x0f;
      bytes[1] = second[random() % 12];
    }
    state.outs.clear();
    state.ins.clear();
    const auto width = static_cast<CodeWidth>(random() % 3);
    const bool kernel_mode = random() % 2 == 0;
    regs.rip = start;
    regs[Gpr::rcx] = random() % 4;
    const Outcome outcome = run(bytes, kernel_mode, width);
    if (std::holds_alternative<Exception>(outcome)) {
      EXPECT_EQ(regs.gpr, before.gpr);
    }
    if (std::holds_alternative<Emulated>(outcome)) {
      EXPECT_LE((regs.rip - start) & 0xffffffff, 15U);
    } else {
      EXPECT_EQ(regs.rip, start);
    }
  }
}

}  // namespace
}  // namespace pinfold::vmm
