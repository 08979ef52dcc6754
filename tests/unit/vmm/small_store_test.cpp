// The gate's own decoder of stores: whatever it takes, the monitor's decoder takes for the same.
#include "vmm/gate/small_store.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "vmm/emulate/alu.hpp"
#include "vmm/emulate/pte_write.hpp"

namespace pinfold::vmm {
namespace {

using gate::SmallStore;
using Code = std::uint8_t[SmallStore::bytes];

TEST(SmallStore, linux_exchanges_and_clears_bits) {
  const Code xchg{0x48, 0x87, 0x07};  // xchg %rax,(%rdi)
  const auto exchange = SmallStore::decode(xchg);
  ASSERT_TRUE(exchange);
  EXPECT_TRUE(exchange->exchanges);
  EXPECT_EQ(exchange->length, 3);
  EXPECT_EQ(exchange->gpr, 0);
  const Code andb{0xf0, 0x80, 0x27, 0xfd};  // lock andb $0xfd,(%rdi)
  const auto clear = SmallStore::decode(andb);
  ASSERT_TRUE(clear);
  EXPECT_FALSE(clear->exchanges);
  EXPECT_EQ(clear->length, 4);
  EXPECT_EQ(clear->immediate, 0xfd);
}

TEST(SmallStore, all_forms_of_the_operand_have_their_lengths) {
  const struct {
    Code code;
    int length;
  } forms[] = {{{0x4c, 0x87, 0x44, 0x24, 0x08}, 5},               // xchg %r8,8(%rsp)
               {{0x49, 0x87, 0x04, 0x24}, 4},                     // xchg %rax,(%r12)
               {{0x48, 0x87, 0x05, 1, 2, 3, 4}, 7},               // xchg %rax,0x4030201(%rip)
               {{0x48, 0x87, 0x04, 0x25, 1, 2, 3, 4}, 8},         // xchg %rax,0x4030201
               {{0x4b, 0x87, 0x84, 0xc8, 1, 2, 3, 4}, 8},         // xchg %rax,disp32(%r8,%r9,8)
               {{0xf0, 0x48, 0x87, 0x07}, 4},                     // lock xchg %rax,(%rdi)
               {{0xf0, 0x41, 0x80, 0x64, 0x24, 0x01, 0xdf}, 7},   // lock andb $0xdf,1(%r12)
               {{0xf0, 0x80, 0xa4, 0x91, 1, 2, 3, 4, 0xfe}, 9}};  // lock andb $0xfe,disp32(%rcx,%rdx,4)
  for (const auto& form : forms) {
    const auto store = SmallStore::decode(form.code);
    ASSERT_TRUE(store);
    EXPECT_EQ(store->length, form.length);
  }
}

TEST(SmallStore, everything_else_is_left) {
  const Code others[] = {{0x48, 0x87, 0xc7},               // xchg %rax,%rdi
                         {0x87, 0x07},                     // xchg %eax,(%rdi)
                         {0x48, 0x87, 0x27},               // xchg %rsp,(%rdi)
                         {0x80, 0x27, 0xfd},               // andb without LOCK: two processors could meet
                         {0xf0, 0x80, 0x0f, 0xfd},         // lock orb
                         {0x48, 0x89, 0x07},               // mov %rax,(%rdi)
                         {0x66, 0x48, 0x87, 0x07},         // a prefix
                         {0x64, 0x48, 0x87, 0x07},         // FS
                         {0x67, 0x48, 0x87, 0x07},         // a 32-bit address
                         {0xf0, 0x48, 0x0f, 0xba, 0x37}};  // lock btr
  for (const Code& code : others) EXPECT_FALSE(SmallStore::decode(code));
}

TEST(SmallStore, whatever_it_takes_the_monitor_takes_for_the_same) {
  std::mt19937 random(1);
  const std::uint8_t first[] = {0xf0, 0x40, 0x41, 0x44, 0x48, 0x49, 0x4c, 0x4f, 0x80, 0x87};
  int taken = 0;
  for (int i = 0; i < 400'000; ++i) {
    Code code;
    for (std::uint8_t& byte : code) byte = static_cast<std::uint8_t>(random());
    for (int at = 0; at < 3; ++at)
      if (random() % 2 != 0) code[at] = first[random() % std::size(first)];
    const auto store = SmallStore::decode(code);
    if (!store) continue;
    // Registers are 0, and so is the next RIP: the effective address is the displacement alone.
    Registers registers;
    registers.rip = 0ULL - store->length;
    const auto bytes = std::as_bytes(std::span(code)).first(15);
    const std::size_t tail = store->length - (store->exchanges ? 0U : 1U);
    std::int32_t disp32 = 0;
    if (tail >= 4) std::memcpy(&disp32, code + tail - 4, 4);
    const std::int64_t candidates[] = {0, static_cast<std::int8_t>(code[tail - 1]), disp32};
    std::optional<PteWrite> write;
    for (const std::int64_t at : candidates)
      if (const auto found =
              decode_pte_write(bytes, registers, SegmentBases{}, GuestVaddr(static_cast<std::uint64_t>(at))))
        write = *found;
    if (!write) {
      // The monitor refuses an exchange at an address that is not aligned; so does the gate, which knows it.
      EXPECT_TRUE(store->exchanges) << i;
      continue;
    }
    ++taken;
    EXPECT_EQ(write->length, store->length);
    EXPECT_EQ(write->operation, store->exchanges ? PteOperation::exchange : PteOperation::bit_and);
    if (store->exchanges) {
      EXPECT_EQ(write->size, 8);
      ASSERT_TRUE(write->write_back);
      EXPECT_EQ(static_cast<std::uint8_t>(write->write_back->gpr), store->gpr);
    } else {
      EXPECT_EQ(write->size, 1);
      EXPECT_EQ(write->source, store->immediate);
    }
  }
  EXPECT_GT(taken, 1000);
}

TEST(SmallStore, flags_are_those_of_an_and) {
  for (unsigned value = 0; value < 256; ++value)
    for (const std::uint64_t flags : {0ULL, 0xffffffffULL, 0x246ULL})
      EXPECT_EQ(gate::flags_after_and(static_cast<std::uint8_t>(value), flags),
                alu::logic(value, 1, flags).flags);
}

}  // namespace
}  // namespace pinfold::vmm
