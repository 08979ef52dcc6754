// A block queue over a ring page: what a frontend gets back, and what it can't break.
#include "devices/block/request_queue.hpp"

#include <gtest/gtest.h>

#include "queue_fixture.hpp"

namespace pinfold::devices::block {
namespace {

struct Queue : QueueFixture, testing::Test {
  Queue() : QueueFixture(1000) {
    for (std::uint32_t n = 0; n < 64; ++n) guest.grant(100 + n, 10 + n);
    connect();
  }
  /// Serves until nothing changes any more; true: the frontend got a notice.
  bool serve() {
    bool notified = false;
    for (int i = 0; i < 4; ++i) {
      now += Pacing::most_patience;
      notified = queue->serve(now) || notified;
    }
    return notified;
  }
  /// The status of one request.
  template <class Raw>
  std::optional<int> status_of(const Raw& raw) {
    front.put(raw);
    front.push();
    serve();
    const auto response = front.take();
    if (!response) return std::nullopt;
    EXPECT_EQ(response->id, raw.id);
    return response->status;
  }
  [[nodiscard]] bool nothing_is_held() {
    queue.reset();
    for (std::uint32_t n = 0; n < 64; ++n)
      if ((guest.flags(100 + n) & (GTF_reading | GTF_writing)) != 0) return false;
    return guest.target.frames_held() == 1;  // the frontend's own ring page
  }

  FakeFrontend front{guest.frame(ring_frame)};
};

TEST_F(Queue, data_goes_to_the_image_and_comes_back) {
  guest.frame(10).store(512, std::uint64_t{0x1122334455667788});
  EXPECT_EQ(status_of(transfer_request(BLKIF_OP_WRITE, 1, 6, {{100, 1, 1}})), BLKIF_RSP_OKAY);
  std::uint64_t there = 0;
  std::memcpy(&there, image.bytes.data() + 6 * sector_bytes, sizeof there);
  EXPECT_EQ(there, 0x1122334455667788u);
  EXPECT_EQ(status_of(transfer_request(BLKIF_OP_READ, 2, 6, {{101, 7, 7}})), BLKIF_RSP_OKAY);
  EXPECT_EQ(guest.frame(11).load<std::uint64_t>(7 * 512), 0x1122334455667788u);
  EXPECT_TRUE(nothing_is_held());
}

TEST_F(Queue, frames_of_a_request_are_held_and_marked_until_its_transfer_is_done) {
  image.stuck = true;
  front.put(transfer_request(BLKIF_OP_READ, 1, 0, {{100, 0, 7}, {101, 0, 7}}));
  front.put(transfer_request(BLKIF_OP_WRITE, 2, 0, {{102, 0, 7}}));
  front.push();
  serve();
  EXPECT_FALSE(front.take());
  EXPECT_EQ(guest.flags(101), GTF_permit_access | GTF_reading | GTF_writing);
  EXPECT_EQ(guest.flags(102), GTF_permit_access | GTF_reading) << "the image's kernel only reads it";
  EXPECT_EQ(guest.users_of(11), 1u);
  EXPECT_FALSE(guest.revoke(100));
  image.stuck = false;
  serve();
  EXPECT_EQ(front.take()->status, BLKIF_RSP_OKAY);
  EXPECT_TRUE(guest.revoke(100) && guest.revoke(101) && guest.revoke(102));
  EXPECT_TRUE(nothing_is_held());
}

TEST_F(Queue, a_grant_can_be_named_more_than_once) {
  for (std::size_t i = 0; i < 4 * sector_bytes; ++i)
    image.bytes[i] = static_cast<std::byte>(i / sector_bytes + 1);
  EXPECT_EQ(status_of(transfer_request(BLKIF_OP_READ, 1, 0, {{100, 0, 0}, {100, 3, 4}, {100, 0, 0}})),
            BLKIF_RSP_OKAY);
  EXPECT_EQ(guest.frame(10).load<std::uint8_t>(0), 4);
  EXPECT_EQ(guest.frame(10).load<std::uint8_t>(3 * 512), 2);
  EXPECT_EQ(guest.flags(100), GTF_permit_access);
  EXPECT_TRUE(nothing_is_held());
}

TEST_F(Queue, one_bad_grant_fails_the_request_and_leaves_nothing_marked) {
  guest.grant(102, 12, GTF_permit_access | GTF_readonly);
  guest.grant(103, FakeTarget::frame_count);
  ASSERT_TRUE(guest.revoke(104));
  for (const std::uint32_t bad : {102u, 103u, 104u, 5000u})
    EXPECT_EQ(status_of(transfer_request(BLKIF_OP_READ, bad, 0, {{100, 0, 7}, {101, 0, 7}, {bad, 0, 7}})),
              BLKIF_RSP_ERROR);
  EXPECT_TRUE(image.done.empty());
  EXPECT_EQ(status_of(transfer_request(BLKIF_OP_WRITE, 9, 0, {{102, 0, 7}})), BLKIF_RSP_OKAY)
      << "a read-only page may be written to the disk";
  EXPECT_TRUE(nothing_is_held());
}

TEST_F(Queue, what_was_done_is_counted_and_what_failed_apart_from_it) {
  EXPECT_EQ(status_of(transfer_request(BLKIF_OP_WRITE, 1, 0, {{100, 0, 7}, {101, 0, 1}})), BLKIF_RSP_OKAY);
  EXPECT_EQ(status_of(transfer_request(BLKIF_OP_READ, 2, 0, {{100, 0, 3}})), BLKIF_RSP_OKAY);
  EXPECT_EQ(status_of(transfer_request(BLKIF_OP_READ, 3, 1000, {{100, 0, 3}})), BLKIF_RSP_ERROR);
  EXPECT_EQ(status_of(transfer_request(BLKIF_OP_FLUSH_DISKCACHE, 4, 0, {})), BLKIF_RSP_OKAY);
  image.error = EIO;
  EXPECT_EQ(status_of(transfer_request(BLKIF_OP_WRITE, 5, 0, {{100, 0, 7}})), BLKIF_RSP_ERROR);
  EXPECT_EQ(counts.requests, 5u);
  EXPECT_EQ(counts.failed, 2u);
  EXPECT_EQ(counts.bytes_written, 10 * sector_bytes);
  EXPECT_EQ(counts.bytes_read, 4 * sector_bytes);
  EXPECT_EQ(counts.flushes, 1u);
}

TEST_F(Queue, a_flush_with_data_flushes_before_it_writes) {
  EXPECT_EQ(status_of(transfer_request(BLKIF_OP_FLUSH_DISKCACHE, 1, 0, {{100, 0, 7}})), BLKIF_RSP_OKAY);
  EXPECT_EQ(image.done, (std::vector{Operation::flush, Operation::write}));
  EXPECT_EQ(status_of(transfer_request(BLKIF_OP_FLUSH_DISKCACHE, 2, 0, {})), BLKIF_RSP_OKAY);
  EXPECT_EQ(image.done.size(), 3u);
  EXPECT_TRUE(nothing_is_held());
}

TEST_F(Queue, a_flush_with_data_that_fails_writes_nothing) {
  image.error = EIO;
  EXPECT_EQ(status_of(transfer_request(BLKIF_OP_FLUSH_DISKCACHE, 1, 0, {{100, 0, 7}})), BLKIF_RSP_ERROR);
  EXPECT_EQ(image.done, std::vector{Operation::flush});
  EXPECT_TRUE(nothing_is_held());
}

// Linux's frontend reports success for a flush that is answered with BLKIF_RSP_ERROR or BLKIF_RSP_EOPNOTSUPP.
TEST_F(Queue, a_flush_that_fails_gets_an_answer_that_no_frontend_takes_for_success) {
  for (const int error : {EIO, EOPNOTSUPP}) {
    image.error = error;
    const auto status = status_of(transfer_request(BLKIF_OP_FLUSH_DISKCACHE, 1, 0, {}));
    for (const int other : {BLKIF_RSP_OKAY, BLKIF_RSP_ERROR, BLKIF_RSP_EOPNOTSUPP}) EXPECT_NE(status, other);
  }
}

TEST_F(Queue, errors_of_the_image_are_errors_of_the_request) {
  image.error = ENOSPC;
  EXPECT_EQ(status_of(transfer_request(BLKIF_OP_WRITE, 1, 0, {{100, 0, 7}})), BLKIF_RSP_ERROR);
  image.error = EOPNOTSUPP;
  blkif_request_discard raw{};
  raw.operation = BLKIF_OP_DISCARD;
  raw.nr_sectors = 8;
  EXPECT_EQ(status_of(raw), BLKIF_RSP_EOPNOTSUPP);
  EXPECT_EQ(counts.failed, 2u);
}

TEST_F(Queue, segments_of_an_indirect_request_are_used_like_others) {
  for (std::uint32_t n = 0; n < 40; ++n) {
    const blkif_request_segment segment{110 + n, 0, 7};
    guest.frame(10).copy_in(n * 8, std::as_bytes(std::span(&segment, 1)));
  }
  for (std::size_t n = 0; n < 40; ++n) image.bytes[n * 4096] = static_cast<std::byte>(n + 1);
  blkif_request_indirect raw{};
  raw.operation = BLKIF_OP_INDIRECT;
  raw.indirect_op = BLKIF_OP_READ;
  raw.nr_segments = 40;
  raw.id = 5;
  raw.indirect_grefs[0] = 100;
  EXPECT_EQ(status_of(raw), BLKIF_RSP_OKAY);
  EXPECT_EQ(guest.frame(20 + 39).load<std::uint8_t>(0), 40);
  ASSERT_TRUE(guest.revoke(100));
  EXPECT_EQ(status_of(raw), BLKIF_RSP_ERROR) << "the page of segments is revoked";
  EXPECT_TRUE(nothing_is_held());
}

TEST_F(Queue, a_full_ring_is_served) {
  for (std::uint32_t n = 0; n < 32; ++n) front.put(transfer_request(BLKIF_OP_READ, n, n, {{100 + n, 0, 0}}));
  front.push();
  serve();
  EXPECT_EQ(front.responses_there(), 32u);
  while (front.take()) {
  }
  EXPECT_EQ(status_of(transfer_request(BLKIF_OP_READ, 99, 0, {{100, 0, 0}})), BLKIF_RSP_OKAY);
}

TEST_F(Queue, indexes_come_round_after_2_to_the_32) {
  queue.reset();
  front = FakeFrontend(guest.frame(ring_frame), 0xffff'fff0);
  connect();
  for (int round = 0; round < 3; ++round) {
    for (std::uint32_t n = 0; n < 32; ++n)
      front.put(transfer_request(BLKIF_OP_READ, n, n, {{100 + n, 0, 0}}));
    EXPECT_TRUE(front.push());
    serve();
    EXPECT_FALSE(queue->is_broken());
    ASSERT_EQ(front.responses_there(), 32u);
    while (front.take()) {
    }
    (void)queue->await_request();
  }
}

TEST_F(Queue, an_index_that_runs_away_breaks_the_ring) {
  for (const std::uint32_t index : {33u, 0x80000000u, 0xffffffffu}) {
    front.set_producer(index);
    serve();
    EXPECT_TRUE(queue->is_broken()) << index;
    EXPECT_FALSE(queue->await_request());
    EXPECT_EQ(front.responses_there(), 0u);
    queue.reset();
    connect();
  }
}

TEST_F(Queue, an_index_that_goes_back_breaks_the_ring) {
  image.stuck = true;
  for (std::uint32_t n = 0; n < 20; ++n) front.put(transfer_request(BLKIF_OP_READ, n, n, {{100 + n, 0, 0}}));
  front.push();
  serve();
  front.set_producer(10);
  serve();
  EXPECT_TRUE(queue->is_broken());
  image.stuck = false;
  serve();
  EXPECT_EQ(front.responses_there(), 20u) << "what was on its way is still responded to";
  EXPECT_TRUE(nothing_is_held());
}

TEST_F(Queue, more_requests_than_the_ring_has_room_for_break_it) {
  image.stuck = true;
  for (std::uint32_t n = 0; n < 32; ++n) front.put(transfer_request(BLKIF_OP_READ, n, n, {{100 + n, 0, 0}}));
  front.push();
  serve();
  front.set_producer(33);
  serve();
  EXPECT_TRUE(queue->is_broken());
  image.stuck = false;
  serve();
}

TEST_F(Queue, our_own_index_is_not_read_back) {
  front.page().store<std::uint32_t>(8, 1000);
  EXPECT_EQ(status_of(transfer_request(BLKIF_OP_READ, 1, 0, {{100, 0, 0}})), BLKIF_RSP_OKAY);
  EXPECT_FALSE(queue->is_broken());
}

TEST_F(Queue, a_frontend_begins_where_the_last_one_ended) {
  for (std::uint32_t n = 0; n < 5; ++n)
    ASSERT_EQ(status_of(transfer_request(BLKIF_OP_READ, n, 0, {{100, 0, 0}})), BLKIF_RSP_OKAY);
  queue.reset();
  connect();
  EXPECT_EQ(status_of(transfer_request(BLKIF_OP_READ, 7, 0, {{100, 0, 0}})), BLKIF_RSP_OKAY);
}

TEST_F(Queue, events_are_asked_for_and_given_only_where_they_are_wanted) {
  EXPECT_FALSE(queue->await_request());
  front.put(transfer_request(BLKIF_OP_READ, 1, 0, {{100, 0, 0}}));
  EXPECT_TRUE(front.push()) << "the backend sleeps";
  image.stuck = true;
  EXPECT_FALSE(serve());
  front.put(transfer_request(BLKIF_OP_READ, 2, 0, {{101, 0, 0}}));
  EXPECT_FALSE(front.push()) << "the backend is awake";
  EXPECT_TRUE(queue->await_request()) << "a request that came without an event is not missed";
  serve();
  image.stuck = false;
  EXPECT_TRUE(serve()) << "the frontend wants an event for the first response";
  EXPECT_EQ(counts.events_sent, 1u);
  // Two responses are there, and the frontend has not asked for another event.
  front.put(transfer_request(BLKIF_OP_READ, 3, 0, {{102, 0, 0}}));
  front.push();
  EXPECT_FALSE(serve());
  EXPECT_EQ(front.responses_there(), 3u);
}

TEST_F(Queue, one_that_takes_no_more_still_responds) {
  image.stuck = true;
  front.put(transfer_request(BLKIF_OP_READ, 1, 0, {{100, 0, 0}}));
  front.push();
  serve();
  queue->stop_taking();
  front.put(transfer_request(BLKIF_OP_READ, 2, 0, {{101, 0, 0}}));
  front.push();
  image.stuck = false;
  serve();
  EXPECT_EQ(front.responses_there(), 1u);
  EXPECT_FALSE(queue->await_request());
  EXPECT_TRUE(queue->is_idle());
}

TEST_F(Queue, a_response_leaks_nothing_of_the_monitors) {
  for (std::size_t offset = 64; offset < 4096; offset += 8) front.page().store(offset, ~std::uint64_t{0});
  ASSERT_EQ(status_of(transfer_request(BLKIF_OP_READ, 1, 0, {{100, 0, 0}})), BLKIF_RSP_OKAY);
  EXPECT_EQ(front.page().load<std::uint32_t>(64 + 12), 0u) << "the structure's padding";
}

}  // namespace
}  // namespace pinfold::devices::block
