#include "loader/unpack.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "images.hpp"

namespace pinfold::loader::testing {
namespace {

using ::testing::HasSubstr;

class Unpack : public ::testing::TestWithParam<Packing> {};

INSTANTIATE_TEST_SUITE_P(Packings, Unpack,
                         ::testing::Values(Packing::gzip, Packing::xz, Packing::lzma, Packing::lz4_legacy,
                                           Packing::zstd, Packing::bzip2),
                         [](const auto& p) { return name_of(p.param); });

TEST_P(Unpack, gives_back_what_was_packed) {
  for (const std::size_t size : {std::size_t{1}, std::size_t{4097}, (std::size_t{8} << 20) + 1}) {
    const auto tile = pattern(5000);
    Bytes plain;
    while (plain.size() < size) plain.insert(plain.end(), tile.begin(), tile.end());
    plain.resize(size);
    const auto result = unpack(pack(GetParam(), plain), {});
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_TRUE(std::ranges::equal(result->bytes(), plain));
  }
}

TEST_P(Unpack, is_told_by_its_magic) { EXPECT_EQ(packing_of(pack(GetParam(), pattern(100))), GetParam()); }

TEST_P(Unpack, ignores_what_follows_the_stream) {
  const auto plain = pattern(10000);
  auto packed = pack(GetParam(), plain);
  put(packed, packed.size(), std::uint32_t{10000});
  const auto result = unpack(packed, {});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(std::ranges::equal(result->bytes(), plain));
}

TEST_P(Unpack, result_of_exactly_the_limit_is_fine_and_one_byte_more_is_not) {
  const std::size_t limit = std::size_t{9} << 20;
  EXPECT_TRUE(unpack(pack(GetParam(), Bytes(limit)), {}, limit));
  const auto result = unpack(pack(GetParam(), Bytes(limit + 1)), {}, limit);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("more than 9 MiB"));
}

TEST_P(Unpack, bomb_stops_at_the_limit) {
  const auto result = unpack(pack(GetParam(), Bytes(std::size_t{16} << 20)), {}, std::size_t{1} << 20);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("more than 1 MiB"));
}

TEST(UnpackXz, dictionary_that_would_take_gigabytes_is_refused) {
  auto packed = pack(Packing::lzma, pattern(1000));
  put(packed, 1, std::uint32_t{0xc0000000});
  const auto result = unpack(packed, {});
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("dictionary"));
}

TEST(UnpackLz4, lengths_that_lie_are_refused) {
  const auto packed = pack(Packing::lz4_legacy, pattern(1000));
  for (const std::uint32_t length : {0U, 3U, 0x7fffffffU, 0xffffffffU}) {
    auto lying = packed;
    put(lying, 4, length);
    EXPECT_FALSE(unpack(lying, {})) << length;
  }
  EXPECT_FALSE(unpack(std::span(packed).first(4), {}));
}

TEST(Bomb, of_more_than_one_gib_is_refused_by_default) {
  // One zstd frame of 128 KiB blocks, each a run of one byte: 8,200 of them are 32 KiB and unpack to 1,025
  // MiB.
  auto bomb = bytes_of("\x28\xb5\x2f\xfd");
  bomb.push_back(std::byte{0x00});  // no content size, no checksum
  bomb.push_back(std::byte{0x88});  // window of 128 MiB
  for (std::uint32_t i = 0; i < 8200; ++i) {
    const std::uint32_t header = (128U << 10) << 3 | 1U << 1 | (i == 8199 ? 1U : 0U);  // RLE block
    for (const unsigned shift : {0U, 8U, 16U}) bomb.push_back(static_cast<std::byte>(header >> shift));
    bomb.push_back(std::byte{0});
  }
  const auto result = unpack(bomb, {});
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("more than 1024 MiB"));
}

}  // namespace
}  // namespace pinfold::loader::testing
