// Which requests of a block frontend pass, and as what.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "devices/block/request.hpp"

namespace pinfold::devices::block {
namespace {

constexpr std::uint64_t sectors = 1000;

Geometry geometry() {
  Geometry g;
  g.sectors = sectors;
  g.can_discard = true;
  return g;
}

blkif_request direct(std::uint8_t operation, std::uint64_t sector,
                     std::vector<blkif_request_segment> segments) {
  blkif_request raw{};
  raw.operation = operation;
  raw.nr_segments = static_cast<std::uint8_t>(segments.size());
  raw.id = 77;
  raw.sector_number = sector;
  std::copy(segments.begin(), segments.end(), raw.seg);
  return raw;
}

template <class As>
blkif_request as_request(const As& as) {
  blkif_request raw{};
  std::memcpy(&raw, &as, sizeof as);
  return raw;
}

blkif_request discard(std::uint64_t sector, std::uint64_t count) {
  blkif_request_discard raw{};
  raw.operation = BLKIF_OP_DISCARD;
  raw.sector_number = sector;
  raw.nr_sectors = count;
  return as_request(raw);
}

blkif_request indirect(std::uint8_t operation, std::uint16_t segments, std::uint64_t sector = 0) {
  blkif_request_indirect raw{};
  raw.operation = BLKIF_OP_INDIRECT;
  raw.indirect_op = operation;
  raw.nr_segments = segments;
  raw.id = 78;
  raw.sector_number = sector;
  raw.indirect_grefs[0] = 500;
  return as_request(raw);
}

bool reads_nothing(GrantRef, std::span<std::byte>) { return false; }

tl::expected<Request, RequestStatus> check(const blkif_request& raw, const Geometry& g = geometry()) {
  return check_request(raw, g, reads_nothing);
}
int status(const blkif_request& raw, const Geometry& g = geometry()) {
  const auto request = check(raw, g);
  return request ? BLKIF_RSP_OKAY : request.error();
}

TEST(BlockRequest, a_read_has_its_segments_in_bytes) {
  const auto request = check(direct(BLKIF_OP_READ, 10, {{21, 0, 7}, {22, 3, 3}}));
  ASSERT_TRUE(request);
  EXPECT_EQ(request->operation, Operation::read);
  EXPECT_EQ(request->offset, 5120u);
  EXPECT_EQ(request->bytes, 4096u + 512u);
  ASSERT_EQ(request->segments.size(), 2u);
  EXPECT_EQ(request->segments[1].ref, GrantRef(22));
  EXPECT_EQ(request->segments[1].offset, 3 * 512u);
  EXPECT_EQ(request->segments[1].size, 512u);
}

TEST(BlockRequest, a_segment_lies_within_its_page) {
  EXPECT_EQ(status(direct(BLKIF_OP_READ, 0, {{21, 0, 8}})), BLKIF_RSP_ERROR);
  EXPECT_EQ(status(direct(BLKIF_OP_READ, 0, {{21, 0, 255}})), BLKIF_RSP_ERROR);
  EXPECT_EQ(status(direct(BLKIF_OP_READ, 0, {{21, 4, 3}})), BLKIF_RSP_ERROR);
  EXPECT_EQ(status(direct(BLKIF_OP_READ, 0, {{21, 255, 0}})), BLKIF_RSP_ERROR);
  EXPECT_EQ(status(direct(BLKIF_OP_READ, 0, {{21, 7, 7}})), BLKIF_RSP_OKAY);
}

TEST(BlockRequest, its_sectors_lie_within_the_image) {
  EXPECT_EQ(status(direct(BLKIF_OP_READ, sectors - 8, {{21, 0, 7}})), BLKIF_RSP_OKAY);
  EXPECT_EQ(status(direct(BLKIF_OP_READ, sectors - 7, {{21, 0, 7}})), BLKIF_RSP_ERROR);
  EXPECT_EQ(status(direct(BLKIF_OP_WRITE, sectors, {{21, 0, 0}})), BLKIF_RSP_ERROR);
  // The end of the request is past 2^64, in sectors or in bytes.
  EXPECT_EQ(status(direct(BLKIF_OP_WRITE, ~0ULL, {{21, 0, 7}})), BLKIF_RSP_ERROR);
  EXPECT_EQ(status(direct(BLKIF_OP_WRITE, 1ULL << 55, {{21, 0, 7}})), BLKIF_RSP_ERROR);
  EXPECT_EQ(status(discard(0, sectors)), BLKIF_RSP_OKAY);
  EXPECT_EQ(status(discard(1, sectors)), BLKIF_RSP_ERROR);
  EXPECT_EQ(status(discard(1, ~0ULL)), BLKIF_RSP_ERROR);
  EXPECT_EQ(status(discard(~0ULL, 2)), BLKIF_RSP_ERROR);
}

TEST(BlockRequest, an_image_without_sectors_has_none_to_read) {
  Geometry empty = geometry();
  empty.sectors = 0;
  EXPECT_EQ(status(direct(BLKIF_OP_READ, 0, {{21, 0, 0}}), empty), BLKIF_RSP_ERROR);
}

TEST(BlockRequest, only_a_flush_has_no_segments) {
  EXPECT_EQ(status(direct(BLKIF_OP_READ, 0, {})), BLKIF_RSP_ERROR);
  EXPECT_EQ(status(direct(BLKIF_OP_WRITE, 0, {})), BLKIF_RSP_ERROR);
  EXPECT_EQ(status(discard(0, 0)), BLKIF_RSP_ERROR);
  const auto flush = check(direct(BLKIF_OP_FLUSH_DISKCACHE, 0, {}));
  ASSERT_TRUE(flush);
  EXPECT_EQ(flush->operation, Operation::flush);
  EXPECT_FALSE(flush->flush_first);
}

TEST(BlockRequest, a_flush_with_segments_is_a_flush_and_then_a_write) {
  const auto request = check(direct(BLKIF_OP_FLUSH_DISKCACHE, 5, {{21, 0, 7}}));
  ASSERT_TRUE(request);
  EXPECT_EQ(request->operation, Operation::write);
  EXPECT_TRUE(request->flush_first);
  EXPECT_EQ(request->segments.size(), 1u);
}

TEST(BlockRequest, there_are_no_more_segments_than_a_request_holds) {
  auto raw = direct(BLKIF_OP_READ, 0, std::vector<blkif_request_segment>(11, {21, 0, 0}));
  EXPECT_EQ(status(raw), BLKIF_RSP_OKAY);
  for (const unsigned count : {12u, 64u, 255u}) {
    raw.nr_segments = static_cast<std::uint8_t>(count);
    EXPECT_EQ(status(raw), BLKIF_RSP_ERROR);
    raw.operation = BLKIF_OP_FLUSH_DISKCACHE;
    EXPECT_EQ(status(raw), BLKIF_RSP_ERROR);
    raw.operation = BLKIF_OP_READ;
  }
}

TEST(BlockRequest, operations_that_the_image_does_not_have_say_so) {
  EXPECT_EQ(status(direct(BLKIF_OP_WRITE_BARRIER, 0, {{21, 0, 7}})), BLKIF_RSP_EOPNOTSUPP);
  EXPECT_EQ(status(direct(BLKIF_OP_RESERVED_1, 0, {{21, 0, 7}})), BLKIF_RSP_EOPNOTSUPP);
  EXPECT_EQ(status(direct(7, 0, {{21, 0, 7}})), BLKIF_RSP_EOPNOTSUPP);
  EXPECT_EQ(status(direct(255, 0, {{21, 0, 7}})), BLKIF_RSP_EOPNOTSUPP);
  Geometry plain = geometry();
  plain.can_discard = plain.can_flush = false;
  EXPECT_EQ(status(discard(0, 8), plain), BLKIF_RSP_EOPNOTSUPP);
  EXPECT_EQ(status(direct(BLKIF_OP_FLUSH_DISKCACHE, 0, {}), plain), BLKIF_RSP_EOPNOTSUPP);
}

TEST(BlockRequest, a_read_only_image_is_only_read) {
  Geometry g = geometry();
  g.read_only = true;
  EXPECT_EQ(status(direct(BLKIF_OP_READ, 0, {{21, 0, 7}}), g), BLKIF_RSP_OKAY);
  EXPECT_EQ(status(direct(BLKIF_OP_WRITE, 0, {{21, 0, 7}}), g), BLKIF_RSP_ERROR);
  EXPECT_EQ(status(direct(BLKIF_OP_FLUSH_DISKCACHE, 0, {{21, 0, 7}}), g), BLKIF_RSP_ERROR);
  EXPECT_EQ(status(discard(0, 8), g), BLKIF_RSP_ERROR);
}

TEST(BlockRequest, an_image_of_larger_sectors_has_whole_ones) {
  Geometry g = geometry();
  g.logical_sector_bytes = 4096;
  EXPECT_EQ(status(direct(BLKIF_OP_READ, 8, {{21, 0, 7}}), g), BLKIF_RSP_OKAY);
  EXPECT_EQ(status(direct(BLKIF_OP_READ, 8, {{21, 0, 3}, {22, 4, 7}}), g), BLKIF_RSP_OKAY);
  EXPECT_EQ(status(direct(BLKIF_OP_READ, 8, {{21, 0, 6}}), g), BLKIF_RSP_ERROR);
  EXPECT_EQ(status(direct(BLKIF_OP_READ, 4, {{21, 0, 7}}), g), BLKIF_RSP_ERROR);
}

TEST(BlockRequest, segments_of_an_indirect_request_are_copied_once) {
  std::vector<blkif_request_segment> page(max_segments, {21, 0, 1});
  page[40] = {99, 2, 2};
  std::size_t copies = 0;
  const auto read = [&](GrantRef ref, std::span<std::byte> to) {
    EXPECT_EQ(ref, GrantRef(500));
    ++copies;
    std::memcpy(to.data(), page.data(), to.size());
    return true;
  };
  const auto request = check_request(indirect(BLKIF_OP_WRITE, 100), geometry(), read);
  ASSERT_TRUE(request);
  EXPECT_EQ(request->operation, Operation::write);
  EXPECT_EQ(copies, 1u);
  ASSERT_EQ(request->segments.size(), 100u);
  EXPECT_EQ(request->segments[40].ref, GrantRef(99));
  EXPECT_EQ(request->bytes, (99 * 2 + 1) * 512u);
  page[99].last_sect = 8;
  EXPECT_FALSE(check_request(indirect(BLKIF_OP_WRITE, 100), geometry(), read));
}

TEST(BlockRequest, an_indirect_request_has_an_allowed_number_of_segments_and_a_granted_page) {
  const auto read = [](GrantRef, std::span<std::byte> to) {
    std::fill(to.begin(), to.end(), std::byte{0});
    return true;
  };
  const auto with = [&](std::uint16_t count) {
    return check_request(indirect(BLKIF_OP_READ, count), geometry(), read);
  };
  EXPECT_TRUE(with(1) && with(max_segments));
  for (const unsigned count : {0u, max_segments + 1, 513u, 65535u})
    EXPECT_EQ(with(static_cast<std::uint16_t>(count)).error(), BLKIF_RSP_ERROR) << count;
  EXPECT_EQ(status(indirect(BLKIF_OP_READ, 1)), BLKIF_RSP_ERROR);
}

TEST(BlockRequest, only_reads_and_writes_are_indirect) {
  for (const int operation : {BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_DISCARD, BLKIF_OP_INDIRECT, 200})
    EXPECT_EQ(status(indirect(static_cast<std::uint8_t>(operation), 1)), BLKIF_RSP_EOPNOTSUPP);
}

TEST(BlockRequest, a_response_names_the_operation_of_the_segments) {
  EXPECT_EQ(operation_to_echo(indirect(BLKIF_OP_WRITE, 1)), BLKIF_OP_WRITE);
  EXPECT_EQ(operation_to_echo(direct(BLKIF_OP_READ, 0, {})), BLKIF_OP_READ);
  EXPECT_EQ(operation_to_echo(discard(0, 1)), BLKIF_OP_DISCARD);
}

}  // namespace
}  // namespace pinfold::devices::block
