#include "vmm/emulate/pte_write.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace pinfold::vmm {
namespace {

using Bytes = std::vector<std::uint8_t>;
constexpr std::uint64_t table = 0xffff888012345000;

tl::expected<PteWrite, Refusal> decode_at(const Bytes& bytes, const Registers& regs, std::uint64_t fault,
                                          SegmentBases bases = {}) {
  return decode_pte_write(std::as_bytes(std::span(bytes)), regs, bases, GuestVaddr(fault));
}

Registers kernel_registers() {
  Registers regs;
  regs.rip = 0xffffffff81000000;
  regs[Gpr::rdi] = table + 0x18;
  regs[Gpr::rsi] = 0x8000000123456067;
  return regs;
}

TEST(PteWrite, refuses_what_does_not_write_memory) {
  const Registers regs = kernel_registers();
  const std::vector<Bytes> not_writes{
      {0x48, 0x8b, 0x07},        // mov (%rdi),%rax
      {0x48, 0x39, 0x37},        // cmp %rsi,(%rdi)
      {0x48, 0x85, 0x37},        // test %rsi,(%rdi)
      {0x48, 0x0f, 0xa3, 0x37},  // bt %rsi,(%rdi)
      {0x48, 0x89, 0xf7},        // mov %rsi,%rdi
      {0x90},                    // nop
      {0xff, 0x17},              // call *(%rdi)
      {0x0f, 0x01, 0x3f},        // invlpg (%rdi)
  };
  for (const Bytes& bytes : not_writes)
    EXPECT_EQ(decode_at(bytes, regs, table + 0x18).error(), Refusal::unsupported) << int(bytes[0]);
}

TEST(PteWrite, refuses_writes_wider_than_an_entry_and_other_units) {
  const Registers regs = kernel_registers();
  const std::vector<Bytes> others{
      {0x48, 0x0f, 0xc7, 0x0f},  // cmpxchg16b (%rdi)
      {0x0f, 0x29, 0x07},        // movaps %xmm0,(%rdi)
      {0xf2, 0x0f, 0x11, 0x07},  // movsd %xmm0,(%rdi)
      {0x0f, 0x7f, 0x07},        // movq %mm0,(%rdi)
      {0xc5, 0xf8, 0x29, 0x07},  // vmovaps %xmm0,(%rdi)
      {0xdd, 0x1f},              // fstpl (%rdi)
      {0x0f, 0xae, 0x07},        // fxsave (%rdi)
      {0x8c, 0x1f},              // mov %ds,(%rdi)
      {0x8f, 0x07},              // pop (%rdi)
      {0x0f, 0x94, 0x07},        // sete (%rdi)
      {0xff, 0x37},              // push (%rdi)
  };
  for (const Bytes& bytes : others)
    EXPECT_EQ(decode_at(bytes, regs, table + 0x18).error(), Refusal::unsupported)
        << int(bytes[0]) << int(bytes[1]);
}

TEST(PteWrite, refuses_a_lock_prefix_where_a_processor_would) {
  EXPECT_EQ(decode_at({0xf0, 0x48, 0x89, 0x37}, kernel_registers(), table + 0x18).error(),
            Refusal::undecodable);
}

TEST(PteWrite, tells_a_short_fetch_from_nonsense) {
  const Registers regs = kernel_registers();
  EXPECT_EQ(decode_at({0x48, 0xc7, 0x07, 0x01, 0x02}, regs, table + 0x18).error(), Refusal::truncated);
  EXPECT_EQ(decode_at({}, regs, table + 0x18).error(), Refusal::truncated);
  EXPECT_EQ(decode_at({0x06}, regs, table + 0x18).error(), Refusal::undecodable);
  EXPECT_EQ(decode_at(Bytes(15, 0x66), regs, table + 0x18).error(), Refusal::undecodable);
}

TEST(PteWrite, refuses_a_write_that_is_not_where_the_fault_was) {
  const Registers regs = kernel_registers();
  const Bytes mov{0x48, 0x89, 0x37};
  EXPECT_TRUE(decode_at(mov, regs, table + 0x18));
  EXPECT_TRUE(decode_at(mov, regs, table + 0x1f));
  EXPECT_EQ(decode_at(mov, regs, table + 0x20).error(), Refusal::elsewhere);
  EXPECT_EQ(decode_at(mov, regs, table + 0x17).error(), Refusal::elsewhere);
}

TEST(PteWrite, refuses_a_write_across_two_entries_and_any_other_misaligned_one) {
  Registers regs = kernel_registers();
  regs[Gpr::rdi] = table + 0x1c;
  EXPECT_EQ(decode_at({0x48, 0x89, 0x37}, regs, table + 0x1c).error(), Refusal::misaligned);
  EXPECT_TRUE(decode_at({0x89, 0x37}, regs, table + 0x1c));
  regs[Gpr::rdi] = table + 0x1d;
  EXPECT_EQ(decode_at({0x89, 0x37}, regs, table + 0x1d).error(), Refusal::misaligned);
  EXPECT_TRUE(decode_at({0x40, 0x88, 0x37}, regs, table + 0x1d));
}

TEST(PteWrite, repeated_string_without_count_writes_nothing) {
  Registers regs = kernel_registers();
  regs[Gpr::rcx] = 0;
  EXPECT_EQ(decode_at({0xf3, 0x48, 0xab}, regs, table + 0x18).error(), Refusal::unsupported);
}

TEST(PteWrite, repeated_string_goes_one_element_and_stays) {
  Registers regs = kernel_registers();
  regs[Gpr::rcx] = 2;
  regs[Gpr::rax] = 7;
  auto write = decode_at({0xf3, 0x48, 0xab}, regs, table + 0x18);
  ASSERT_TRUE(write);
  const Effect first = evaluate(*write, 0, regs);
  EXPECT_EQ(first.after.rip, regs.rip);
  EXPECT_EQ(first.after[Gpr::rcx], 1U);
  EXPECT_EQ(first.after[Gpr::rdi], table + 0x20);
  write = decode_at({0xf3, 0x48, 0xab}, first.after, table + 0x20);
  ASSERT_TRUE(write);
  const Effect second = evaluate(*write, 0, first.after);
  EXPECT_EQ(second.after.rip, regs.rip + 3);
  EXPECT_EQ(second.after[Gpr::rcx], 0U);
}

TEST(PteWrite, movs_names_the_source_for_the_caller_to_read) {
  Registers regs = kernel_registers();
  regs[Gpr::rsi] = 0x1000;
  const auto write = decode_at({0x65, 0x48, 0xa5}, regs, table + 0x18, {0, 0x7000});
  ASSERT_TRUE(write);
  ASSERT_TRUE(write->source_address);
  EXPECT_EQ(write->source_address->raw(), 0x8000U);  // the override moves the source, never the destination
  EXPECT_EQ(write->address.raw(), table + 0x18);
}

// XSA-195: all bits of the signed offset count.
TEST(PteWrite, bit_offset_in_a_register_moves_the_operand_by_all_of_it) {
  Registers regs = kernel_registers();
  regs[Gpr::rsi] = 1ULL << 40;
  const Bytes bts{0x48, 0x0f, 0xab, 0x37};  // bts %rsi,(%rdi)
  EXPECT_EQ(decode_at(bts, regs, table + 0x18).error(), Refusal::elsewhere);
  const auto far = decode_at(bts, regs, table + 0x18 + (1ULL << 37));
  ASSERT_TRUE(far);
  EXPECT_EQ(far->source, 0U);

  regs[Gpr::rsi] = static_cast<std::uint64_t>(-1);
  const auto before = decode_at(bts, regs, table + 0x10);
  ASSERT_TRUE(before);
  EXPECT_EQ(before->source, 63U);
}

TEST(PteWrite, bit_offset_in_an_immediate_stays_within_the_operand) {
  const auto write =
      decode_at({0x48, 0x0f, 0xba, 0x2f, 0xff}, kernel_registers(), table + 0x18);  // bts $255,(%rdi)
  ASSERT_TRUE(write);
  EXPECT_EQ(write->address.raw(), table + 0x18);
  EXPECT_EQ(write->source, 63U);
}

TEST(PteWrite, segment_bases_are_added_for_fs_and_gs_only) {
  Registers regs = kernel_registers();
  regs[Gpr::rdi] = 0x18;
  const SegmentBases bases{table, table + 0x1000};
  EXPECT_TRUE(decode_at({0x64, 0x48, 0x89, 0x37}, regs, table + 0x18, bases));
  EXPECT_TRUE(decode_at({0x65, 0x48, 0x89, 0x37}, regs, table + 0x1018, bases));
  EXPECT_TRUE(decode_at({0x2e, 0x48, 0x89, 0x37}, regs, 0x18, bases));
}

TEST(PteWrite, a_refused_entry_leaves_no_trace_in_the_registers) {
  const Registers regs = kernel_registers();
  const auto write = decode_at({0x48, 0x87, 0x37}, regs, table + 0x18);  // xchg %rsi,(%rdi)
  ASSERT_TRUE(write);
  EXPECT_TRUE(write->locked);
  const Effect effect = evaluate(*write, 0x99, regs);
  EXPECT_EQ(regs[Gpr::rsi], 0x8000000123456067U);
  EXPECT_EQ(effect.after[Gpr::rsi], 0x99U);
  EXPECT_EQ(effect.new_value, 0x8000000123456067U);
  EXPECT_TRUE(effect.reads_operand);
}

TEST(PteWrite, a_compare_that_fails_stores_nothing) {
  Registers regs = kernel_registers();
  regs[Gpr::rax] = 1;
  const auto write = decode_at({0xf0, 0x48, 0x0f, 0xb1, 0x37}, regs, table + 0x18);
  ASSERT_TRUE(write);
  const Effect lost = evaluate(*write, 2, regs);
  EXPECT_FALSE(lost.stores);
  EXPECT_EQ(lost.after[Gpr::rax], 2U);
  EXPECT_EQ(lost.after.rflags & rflags::zf, 0U);
  const Effect won = evaluate(*write, 1, regs);
  EXPECT_TRUE(won.stores);
  EXPECT_EQ(won.new_value, regs[Gpr::rsi]);
  EXPECT_NE(won.after.rflags & rflags::zf, 0U);
}

// The instructions by which Linux clears the accessed or writable bit.
TEST(PteWrite, a_byte_of_an_entry_is_merged_into_it) {
  Registers regs = kernel_registers();
  for (const Bytes& bytes :
       {Bytes{0xf0, 0x80, 0x27, 0xfd}, Bytes{0x80, 0x27, 0xfd}}) {  // (lock) andb $0xfd,(%rdi)
    const auto write = decode_at(bytes, regs, table + 0x18);
    ASSERT_TRUE(write);
    const std::uint64_t entry = 0x8000000123456067;
    const Effect effect = evaluate(*write, operand_of(*write, entry), regs);
    EXPECT_EQ(merged(*write, entry, effect.new_value), 0x8000000123456065U);
  }
  regs[Gpr::rdi] = table + 0x1f;
  const auto top = decode_at({0x80, 0x27, 0x7f}, regs, table + 0x1f);
  ASSERT_TRUE(top);
  const Effect effect = evaluate(*top, operand_of(*top, 0x8000000123456067), regs);
  EXPECT_EQ(merged(*top, 0x8000000123456067, effect.new_value), 0x0000000123456067U);
}

TEST(PteWrite, resume_flag_ends_and_single_step_is_reported) {
  Registers regs = kernel_registers();
  const auto write = decode_at({0x48, 0x89, 0x37}, regs, table + 0x18);
  ASSERT_TRUE(write);
  EXPECT_FALSE(evaluate(*write, 0, regs).single_step);
  regs.rflags |= rflags::rf | rflags::tf;
  const Effect effect = evaluate(*write, 0, regs);
  EXPECT_TRUE(effect.single_step);
  EXPECT_EQ(effect.after.rflags & rflags::rf, 0U);
}

TEST(PteWrite, whatever_is_accepted_lies_within_one_entry_around_the_fault) {
  std::mt19937_64 random(1);
  unsigned accepted = 0;
  for (int round = 0; round < 200000; ++round) {
    Bytes bytes(random() % 16);
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
    // Half of them begin with an opcode that is emulated, so that many are accepted.
    static constexpr std::uint8_t opcodes[]{0x89, 0x87, 0x01, 0x80, 0xc7, 0xab, 0xa5, 0xf7};
    if (bytes.size() > 2 && round % 2 == 0) {
      bytes[0] = random() % 2 == 0 ? 0x48 : 0xf3;
      bytes[1] = opcodes[random() % 8];
    }
    Registers regs = kernel_registers();
    for (auto& gpr : regs.gpr) gpr = table + 8 * (random() % 512);
    const auto write = decode_at(bytes, regs, regs[Gpr::rdi] + random() % 8, {random(), random()});
    if (!write) continue;
    ++accepted;
    EXPECT_EQ(write->address.raw() / 8, (write->address.raw() + write->size - 1) / 8);
    EXPECT_LE(write->length, bytes.size());
    const Effect effect = evaluate(*write, random(), regs);
    EXPECT_EQ(effect.new_value & ~mask_of(write->size), 0U);
  }
  EXPECT_GT(accepted, 100U);
}

}  // namespace
}  // namespace pinfold::vmm
