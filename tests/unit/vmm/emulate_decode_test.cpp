#include "vmm/emulate/decode.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace pinfold::vmm {
namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::initializer_list<int> values) {
  Bytes bytes;
  for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

/// The fields that emulation uses.
void expect_same(const tl::expected<Instruction, DecodeError>& again,
                 const tl::expected<Instruction, DecodeError>& fresh) {
  ASSERT_EQ(again.has_value(), fresh.has_value());
  if (!fresh) {
    EXPECT_EQ(again.error(), fresh.error());
    return;
  }
  EXPECT_EQ(again->mnemonic(), fresh->mnemonic());
  EXPECT_EQ(again->length(), fresh->length());
  EXPECT_EQ(again->info.attributes, fresh->info.attributes);
  ASSERT_EQ(again->info.operand_count, fresh->info.operand_count);
  for (std::size_t i = 0; i < fresh->info.operand_count; ++i) {
    EXPECT_EQ(again->operands[i].type, fresh->operands[i].type);
    EXPECT_EQ(again->operands[i].size, fresh->operands[i].size);
  }
}

TEST(Decode, what_is_remembered_is_what_decoding_finds) {
  std::mt19937_64 random(1);
  std::vector<Bytes> instructions(64);
  for (Bytes& bytes : instructions) {
    bytes.resize(random() % 17);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  }
  constexpr std::array widths{CodeWidth::bits16, CodeWidth::bits32, CodeWidth::bits64};
  for (int i = 0; i < 20000; ++i) {
    const Bytes& bytes = instructions[random() % instructions.size()];
    const CodeWidth width = widths[random() % widths.size()];
    expect_same(decode_again(bytes, width), decode(bytes, width));
  }
}

/// These differ only behind the bytes that the cache hashes.
TEST(Decode, instructions_that_begin_alike_are_told_apart) {
  const Bytes one = bytes_of({0x48, 0xc7, 0x84, 0x24, 0, 1, 0, 0, 0x11, 0, 0, 0});
  const Bytes other = bytes_of({0x48, 0xc7, 0x84, 0x24, 0, 1, 0, 0, 0x22, 0, 0, 0});
  const Bytes shorter = bytes_of({0x48, 0xc7, 0x84, 0x24, 0, 1, 0, 0, 0x11});
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(decode_again(one)->operands[1].imm.value.u, 0x11U);
    EXPECT_EQ(decode_again(other)->operands[1].imm.value.u, 0x22U);
    EXPECT_EQ(decode_again(shorter).error(), DecodeError::truncated);
  }
}

/// add %r8b,-0x7fffd777(,%r12d,2), and the same with 64-bit addresses, and with a base.
TEST(Decode, base_5_without_mod_is_a_displacement) {
  const auto memory_of = [](const Bytes& code) {
    const auto instruction = decode(code, CodeWidth::bits64);
    EXPECT_TRUE(instruction);
    return instruction->first(ZYDIS_OPERAND_TYPE_MEMORY)->mem;
  };
  constexpr std::int64_t displacement = -0x7fffd777;
  for (const auto& mem : {memory_of(bytes_of({0x67, 0x47, 0x00, 0x04, 0x65, 0x89, 0x28, 0x00, 0x80})),
                          memory_of(bytes_of({0x47, 0x00, 0x04, 0x65, 0x89, 0x28, 0x00, 0x80}))}) {
    EXPECT_EQ(mem.base, ZYDIS_REGISTER_NONE);
    EXPECT_EQ(mem.disp.value, displacement);
  }
  const auto based = memory_of(bytes_of({0x67, 0x47, 0x00, 0x44, 0x65, 0x10}));
  EXPECT_EQ(based.base, ZYDIS_REGISTER_R13D);
  EXPECT_EQ(based.disp.value, 0x10);
}

TEST(Decode, the_width_is_part_of_what_is_asked) {
  const Bytes inc_or_rex = bytes_of({0x40, 0x90});
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(decode_again(inc_or_rex, CodeWidth::bits64)->length(), 2);
    EXPECT_EQ(decode_again(inc_or_rex, CodeWidth::bits32)->length(), 1);
  }
}

}  // namespace
}  // namespace pinfold::vmm
