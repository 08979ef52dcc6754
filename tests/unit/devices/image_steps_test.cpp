// One transfer, cut into the calls that the host needs for it, without a host.
#include <cerrno>
#include <climits>

#include "devices/block/transfer_check.hpp"
#include "devices/block/transfer_steps.hpp"
#include "image_files.hpp"

namespace pinfold::devices::block {
namespace {

TEST(TransferSteps, a_whole_answer_ends_it) {
  Memory memory(4096);
  const auto pieces = memory.pieces(512);
  TransferSteps steps;
  steps.begin(transfer(Operation::read, 1024, pieces), {});
  const Step step = steps.next();
  EXPECT_EQ(step.offset, 1024U);
  EXPECT_EQ(step.pieces.data(), pieces.data());  // As they are, not copied.
  EXPECT_EQ(steps.finish(4096), 0);
}

TEST(TransferSteps, a_short_answer_is_continued_where_it_ended) {
  Memory memory(2048);
  const auto pieces = memory.pieces(512);
  TransferSteps steps;
  steps.begin(transfer(Operation::write, 4096, pieces), {});
  (void)steps.next();
  EXPECT_EQ(steps.finish(700), std::nullopt);
  Step step = steps.next();
  EXPECT_EQ(step.offset, 4796U);
  EXPECT_EQ(step.bytes, 1348U);
  ASSERT_EQ(step.pieces.size(), 3U);
  EXPECT_EQ(step.pieces[0].iov_base, memory.data() + 700);
  EXPECT_EQ(step.pieces[0].iov_len, 324U);
  EXPECT_EQ(step.pieces[2].iov_len, 512U);
  EXPECT_EQ(steps.finish(324), std::nullopt);
  step = steps.next();
  EXPECT_EQ(step.pieces.data(), &pieces[2]);
  EXPECT_EQ(steps.finish(1024), 0);
}

TEST(TransferSteps, no_call_has_more_pieces_than_the_host_takes) {
  Memory memory(512 * (IOV_MAX + 5));
  const auto pieces = memory.pieces(512);
  TransferSteps steps;
  steps.begin(transfer(Operation::read, 0, pieces), {});
  EXPECT_EQ(steps.next().pieces.size(), static_cast<std::size_t>(IOV_MAX));
  EXPECT_EQ(steps.finish(512 * IOV_MAX), std::nullopt);
  EXPECT_EQ(steps.next().pieces.size(), 5U);
  EXPECT_EQ(steps.finish(512 * 5), 0);
}

TEST(TransferSteps, an_interrupted_call_is_repeated_and_not_without_end) {
  Memory memory(512);
  const auto pieces = memory.pieces(512);
  TransferSteps steps;
  steps.begin(transfer(Operation::read, 0, pieces), {});
  EXPECT_EQ(steps.finish(-EINTR), std::nullopt);
  EXPECT_EQ(steps.finish(-EAGAIN), std::nullopt);
  EXPECT_EQ(steps.next().bytes, 512U);
  std::optional<int> error;
  int calls = 0;
  while (!error && ++calls < 100000) error = steps.finish(-EAGAIN);
  EXPECT_EQ(error, EIO);
}

TEST(TransferSteps, an_answer_of_nothing_is_an_error) {
  Memory memory(1024);
  const auto pieces = memory.pieces(512);
  for (const Operation operation : {Operation::read, Operation::write}) {
    TransferSteps steps;
    steps.begin(transfer(operation, 0, pieces), {});
    EXPECT_EQ(steps.finish(512), std::nullopt);
    EXPECT_EQ(steps.finish(0), EIO);
  }
}

TEST(TransferSteps, the_hosts_errors_are_passed_on) {
  Memory memory(512);
  const auto pieces = memory.pieces(512);
  for (const int error : {ENOSPC, EIO, EFBIG, EDQUOT}) {
    TransferSteps steps;
    steps.begin(transfer(Operation::write, 0, pieces), {});
    EXPECT_EQ(steps.finish(-error), error);
  }
}

TEST(TransferSteps, memory_that_direct_io_refuses_is_bounced_in_parts_of_a_bounded_size) {
  constexpr std::size_t bytes = BounceBuffer::bytes + 1024;
  Memory memory(bytes, 512);
  memory.fill(3);
  const auto pieces = memory.pieces(512);
  TransferSteps steps;
  steps.begin(transfer(Operation::write, 0, pieces), {4096, 512});
  Step step = steps.next();
  ASSERT_EQ(step.pieces.size(), 1U);
  EXPECT_EQ(step.bytes, BounceBuffer::bytes);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(step.pieces[0].iov_base) % 4096, 0U);
  EXPECT_EQ(std::memcmp(step.pieces[0].iov_base, memory.data(), step.bytes), 0);
  EXPECT_EQ(steps.finish(1536), std::nullopt);
  step = steps.next();
  EXPECT_EQ(step.offset, 1536U);
  EXPECT_EQ(std::memcmp(step.pieces[0].iov_base, memory.data() + 1536, step.bytes), 0);
  EXPECT_EQ(steps.finish(static_cast<std::int64_t>(step.bytes)), 0);
}

TEST(TransferSteps, what_a_bounced_read_got_ends_in_its_pieces_and_no_more) {
  Memory memory(2048, 8);
  const auto pieces = memory.pieces(512);
  TransferSteps steps;
  steps.begin(transfer(Operation::read, 0, pieces), {512, 512});
  Step step = steps.next();
  std::memset(step.pieces[0].iov_base, 'a', 2048);
  EXPECT_EQ(steps.finish(600), std::nullopt);
  EXPECT_EQ(memory.text(), std::string(600, 'a') + std::string(1448, '\0'));
  step = steps.next();
  std::memset(step.pieces[0].iov_base, 'b', 1448);
  EXPECT_EQ(steps.finish(1448), 0);
  EXPECT_EQ(memory.text(), std::string(600, 'a') + std::string(1448, 'b'));
}

TEST(TransferSteps, memory_that_fits_is_used_as_it_is) {
  Memory memory(1024);
  const auto pieces = memory.pieces(512);
  TransferSteps steps;
  steps.begin(transfer(Operation::read, 0, pieces), {512, 512});
  EXPECT_EQ(steps.next().pieces.data(), pieces.data());
}

class TransferCheck : public testing::Test {
 protected:
  Memory memory{1024};
  std::vector<iovec> pieces = memory.pieces(512);
  Geometry geometry{.sectors = 16};
};

TEST_F(TransferCheck, what_ends_at_the_end_fits_and_what_ends_behind_it_does_not) {
  EXPECT_EQ(error_in(transfer(Operation::read, 14 * 512, pieces), geometry), 0);
  EXPECT_EQ(error_in(transfer(Operation::read, 15 * 512, pieces), geometry), EINVAL);
  EXPECT_EQ(error_in(transfer(Operation::write, 16 * 512, pieces), geometry), EINVAL);
}

TEST_F(TransferCheck, a_place_whose_end_wraps_is_refused) {
  const std::uint64_t last = ~std::uint64_t{511};
  EXPECT_EQ(error_in(transfer(Operation::write, last, pieces), geometry), EINVAL);
  geometry.can_discard = true;
  EXPECT_EQ(error_in({Operation::discard, 512, last, {}, 0}, geometry), EINVAL);
}

TEST_F(TransferCheck, only_whole_sectors_of_the_images_own_size) {
  EXPECT_EQ(error_in(transfer(Operation::read, 100, pieces), geometry), EINVAL);
  geometry.logical_sector_bytes = 4096;
  EXPECT_EQ(error_in(transfer(Operation::read, 0, pieces), geometry), EINVAL);
  Memory large(4096);
  EXPECT_EQ(error_in(transfer(Operation::read, 4096, large.pieces(512)), geometry), 0);
  EXPECT_EQ(error_in(transfer(Operation::read, 512, large.pieces(512)), geometry), EINVAL);
}

TEST_F(TransferCheck, memory_of_another_size_is_refused) {
  Transfer bad = transfer(Operation::read, 0, pieces);
  bad.bytes = 512;
  EXPECT_EQ(error_in(bad, geometry), EINVAL);
  bad.bytes = 2048;
  EXPECT_EQ(error_in(bad, geometry), EINVAL);
  const std::vector<iovec> wraps = {{memory.data(), ~std::size_t{0} - 511}, {memory.data(), 1024}};
  Transfer wrapped{Operation::read, 0, 512, wraps, 0};
  EXPECT_EQ(error_in(wrapped, geometry), EINVAL);
}

TEST_F(TransferCheck, a_read_only_image_is_not_changed) {
  geometry.read_only = true;
  geometry.can_discard = true;
  EXPECT_EQ(error_in(transfer(Operation::read, 0, pieces), geometry), 0);
  EXPECT_EQ(error_in(transfer(Operation::write, 0, pieces), geometry), EROFS);
  EXPECT_EQ(error_in({Operation::discard, 0, 512, {}, 0}, geometry), EROFS);
}

TEST_F(TransferCheck, a_discard_that_is_not_offered_is_refused) {
  EXPECT_EQ(error_in({Operation::discard, 0, 512, {}, 0}, geometry), EOPNOTSUPP);
  geometry.can_discard = true;
  EXPECT_EQ(error_in({Operation::discard, 0, 512, {}, 0}, geometry), 0);
}

}  // namespace
}  // namespace pinfold::devices::block
