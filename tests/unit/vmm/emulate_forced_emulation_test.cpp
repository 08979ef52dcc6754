#include "vmm/emulate/forced_emulation.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace pinfold::vmm {
namespace {

using Bytes = std::vector<std::uint8_t>;
bool forced(const Bytes& bytes) { return is_forced_cpuid(std::as_bytes(std::span(bytes))); }
std::optional<std::uint8_t> int_n(const Bytes& bytes) {
  return decode_int_n(std::as_bytes(std::span(bytes)));
}

TEST(ForcedEmulation, prefix_and_cpuid_are_recognised) {
  EXPECT_TRUE(forced({0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2}));
  EXPECT_TRUE(forced({0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2, 0x90}));
}

TEST(ForcedEmulation, nothing_but_cpuid_may_follow_the_prefix) {
  EXPECT_FALSE(forced({0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0x31}));
  EXPECT_FALSE(forced({0x0f, 0x0b, 'x', 'e', 'n', 0x66, 0x0f, 0xa2}));
  EXPECT_FALSE(forced({0x0f, 0x0b, 'x', 'e', 'm', 0x0f, 0xa2}));
}

TEST(ForcedEmulation, a_sequence_cut_short_is_none) {
  const Bytes whole{0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2};
  for (std::size_t n = 0; n < whole.size(); ++n)
    EXPECT_FALSE(forced(Bytes(whole.begin(), whole.begin() + long(n))));
}

TEST(SoftwareInterrupt, vector_is_the_second_byte) {
  EXPECT_EQ(int_n({0xcd, 0x80}), 0x80);
  EXPECT_EQ(int_n({0xcd, 0x03}), 3);
  EXPECT_EQ(int_n({0xcd, 0xff, 0x90}), 0xff);
}

TEST(SoftwareInterrupt, other_instructions_have_none) {
  EXPECT_FALSE(int_n({0xcc, 0x80}));
  EXPECT_FALSE(int_n({0xce, 0x80}));
  EXPECT_FALSE(int_n({0xcd}));
  EXPECT_FALSE(int_n({}));
}

}  // namespace
}  // namespace pinfold::vmm
