#include "vmm/emulate/io_ports.hpp"

#include <gtest/gtest.h>

#include <map>

namespace pinfold::vmm {
namespace {

std::uint8_t rtc(IoPorts& ports, std::uint8_t index) {
  ports.out(0x70, 1, index);
  return static_cast<std::uint8_t>(ports.in(0x71, 1));
}

TEST(IoPorts, timer_calibration_ends_at_once) {
  IoPorts ports;
  EXPECT_EQ(ports.in(0x42, 1), 0U);
  EXPECT_EQ(ports.in(0x61, 1), 0x20U);
  ports.out(0x61, 1, 0x01);
  EXPECT_EQ(ports.in(0x61, 1), 0x21U);
}

TEST(IoPorts, nothing_reads_as_ones_of_the_access_size) {
  IoPorts ports;
  EXPECT_EQ(ports.in(0x3f8, 1), 0xffU);
  EXPECT_EQ(ports.in(0xcfc, 2), 0xffffU);
  ports.out(0xcf8, 4, 0x80000000);
  EXPECT_EQ(ports.in(0xcf8, 4), 0xffffffffU);
  EXPECT_EQ(ports.in(0xffff, 4), 0xffffffffU);
}

TEST(IoPorts, a_wide_access_is_made_of_its_bytes) {
  IoPorts ports;
  EXPECT_EQ(ports.in(0x41, 4), 0xffff00ffU);
  ports.out(0x60, 2, 0x0200);
  EXPECT_EQ(ports.in(0x61, 1), 0x22U);
}

TEST(IoPorts, clock_shows_the_time_in_bcd) {
  IoPorts ports([] { return std::time_t{951827696}; });  // 2000-02-29 12:34:56 UTC, a Tuesday
  EXPECT_EQ(rtc(ports, 0), 0x56);
  EXPECT_EQ(rtc(ports, 2), 0x34);
  EXPECT_EQ(rtc(ports, 4), 0x12);
  EXPECT_EQ(rtc(ports, 6), 0x03);
  EXPECT_EQ(rtc(ports, 7), 0x29);
  EXPECT_EQ(rtc(ports, 8), 0x02);
  EXPECT_EQ(rtc(ports, 9), 0x00);
  EXPECT_EQ(rtc(ports, 0x32), 0x20);
}

TEST(IoPorts, clock_is_valid_and_never_updating) {
  IoPorts ports;
  EXPECT_EQ(rtc(ports, 0x0a) & 0x80, 0);
  EXPECT_EQ(rtc(ports, 0x0b) & 0x06, 0x02);
  EXPECT_EQ(rtc(ports, 0x0d), 0x80);
  EXPECT_EQ(rtc(ports, 0x80 | 0x0d), 0x80);  // the top bit masks NMIs
}

TEST(IoPrivilege, level_must_reach_the_modes) {
  EXPECT_FALSE(io_privileged(0, true, false));
  EXPECT_TRUE(io_privileged(1, true, false));
  EXPECT_TRUE(io_privileged(0, true, true));
  EXPECT_FALSE(io_privileged(2, false, false));
  EXPECT_FALSE(io_privileged(2, false, true));
  EXPECT_TRUE(io_privileged(3, false, false));
}

class BitmapMemory : public GuestMemory {
 public:
  Status read(GuestVaddr from, std::span<std::byte> to) override {
    for (std::size_t i = 0; i < to.size(); ++i) {
      const auto found = bytes.find(from.raw() + i);
      if (found == bytes.end()) return fail(Errno::efault);
      to[i] = std::byte{found->second};
    }
    return {};
  }
  Status write(GuestVaddr, std::span<const std::byte>) override { return fail(Errno::efault); }
  std::map<std::uint64_t, std::uint8_t> bytes;
};

TEST(IoBitmap, a_clear_bit_allows_and_a_set_one_does_not) {
  BitmapMemory memory;
  memory.bytes = {{0x100, 0xf0}, {0x101, 0xfe}};
  const auto allows = [&memory](std::uint16_t port, unsigned size) {
    return bitmap_allows(memory, GuestVaddr(0x100), 16, port, size);
  };
  EXPECT_TRUE(allows(0, 4));
  EXPECT_TRUE(allows(3, 1));
  EXPECT_FALSE(allows(4, 1));
  EXPECT_FALSE(allows(3, 2));
  EXPECT_TRUE(allows(8, 1));
  EXPECT_FALSE(allows(8, 2));
  EXPECT_FALSE(allows(7, 2));
}

TEST(IoBitmap, an_access_may_take_bits_of_two_bytes) {
  BitmapMemory memory;
  memory.bytes = {{0x100, 0x7f}, {0x101, 0xf8}};
  EXPECT_TRUE(bitmap_allows(memory, GuestVaddr(0x100), 16, 7, 4));
}

TEST(IoBitmap, ports_past_its_end_are_denied) {
  BitmapMemory memory;
  memory.bytes = {{0x100, 0}, {0x101, 0}};
  EXPECT_TRUE(bitmap_allows(memory, GuestVaddr(0x100), 10, 8, 2));
  EXPECT_FALSE(bitmap_allows(memory, GuestVaddr(0x100), 10, 9, 2));
  EXPECT_FALSE(bitmap_allows(memory, GuestVaddr(0x100), 0, 0, 1));
}

TEST(IoBitmap, an_unreadable_bitmap_denies_and_only_needed_bytes_are_read) {
  BitmapMemory memory;
  memory.bytes = {{0x100, 0}};
  EXPECT_TRUE(bitmap_allows(memory, GuestVaddr(0x100), 65536, 4, 4));
  EXPECT_FALSE(bitmap_allows(memory, GuestVaddr(0x100), 65536, 7, 2));
  EXPECT_FALSE(bitmap_allows(memory, GuestVaddr(0x200), 65536, 0, 1));
}

TEST(IoBitmap, the_last_ports_are_in_range) {
  BitmapMemory memory;
  memory.bytes = {{0x20ff, 0}};
  EXPECT_TRUE(bitmap_allows(memory, GuestVaddr(0x100), 65536, 0xffff, 1));
  EXPECT_FALSE(bitmap_allows(memory, GuestVaddr(0x100), 65536, 0xffff, 2));
}

}  // namespace
}  // namespace pinfold::vmm
