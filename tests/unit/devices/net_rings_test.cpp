// The rings of a network interface, with frontends that keep the rules and frontends that don't.
#include <gtest/gtest.h>

#include "devices/net/rx_side.hpp"
#include "devices/net/tx_side.hpp"
#include "net_fakes.hpp"

namespace pinfold::devices::net {
namespace {

constexpr std::uint32_t ring_ref = 8, ring_frame = 1, first_ref = 100, first_frame = 10, pages = 24;

struct Rings : testing::Test {
  Rings() {
    guest.grant(ring_ref, ring_frame);
    for (std::uint32_t n = 0; n < pages; ++n) {
      guest.grant(first_ref + n, first_frame + n);
      auto page = guest.frame(first_frame + n);
      for (std::size_t at = 0; at < page_size; ++at) page.store(at, static_cast<std::uint8_t>(n + 1));
    }
  }
  ~Rings() override {
    for (std::uint32_t n = 0; n < pages; ++n) {
      EXPECT_EQ(guest.users_of(first_frame + n), 0u);
      EXPECT_EQ(guest.flags(first_ref + n) & (GTF_reading | GTF_writing), 0);
    }
  }
  GrantedPage ring() { return std::move(*access.use(GrantRef(ring_ref), GrantUse::write)); }

  GrantingGuest guest;
  GrantAccess access = guest.access();
};

struct Tx : Rings {
  static netif_tx_request slot(std::uint32_t page, unsigned size, unsigned flags = 0, unsigned offset = 0) {
    return {first_ref + page, static_cast<std::uint16_t>(offset), static_cast<std::uint16_t>(flags),
            static_cast<std::uint16_t>(1000 + page), static_cast<std::uint16_t>(size)};
  }
  static netif_extra_info gso(unsigned size, unsigned type = XEN_NETIF_GSO_TYPE_TCPV4, unsigned flags = 0) {
    netif_extra_info extra{};
    extra.type = XEN_NETIF_EXTRA_TYPE_GSO;
    extra.flags = static_cast<std::uint8_t>(flags);
    extra.u.gso.size = static_cast<std::uint16_t>(size);
    extra.u.gso.type = static_cast<std::uint8_t>(type);
    return extra;
  }
  /// The next frame, after the frontend has shown what it put.
  std::optional<Frame> next() {
    front.push();
    auto frame = tx.next(buffer);
    tx.ring().show();
    return frame;
  }
  /// Statuses of all responses.
  std::vector<int> statuses() {
    std::vector<int> all;
    while (const auto response = front.take()) all.push_back(response->status);
    return all;
  }
  /// Is the chain answered with errors, and does the ring go on?
  void expect_refused(const char* what) {
    EXPECT_FALSE(next()) << what;
    const auto all = statuses();
    EXPECT_FALSE(all.empty()) << what;
    for (const int status : all) EXPECT_TRUE(status == NETIF_RSP_ERROR || status == NETIF_RSP_NULL) << what;
    EXPECT_EQ(tx.fault(), nullptr) << what;
    front.put(slot(0, 60));
    EXPECT_TRUE(next()) << what;
    EXPECT_EQ(statuses(), std::vector<int>{NETIF_RSP_OKAY}) << what;
  }

  FakeTx front{guest.frame(ring_frame), sizeof(netif_tx_request)};
  TxSide tx{ring(), access};
  Bytes buffer = Bytes(most_frame_bytes);
};

TEST_F(Tx, a_frame_is_copied_and_answered) {
  front.put(slot(3, 60, NETTXF_csum_blank | NETTXF_data_validated, 4000));
  const auto frame = next();
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->bytes.size(), 60u);
  EXPECT_EQ(frame->bytes[59], std::byte{4});
  EXPECT_TRUE(frame->offload.checksum_blank);
  EXPECT_TRUE(frame->offload.validated);
  const auto response = front.take();
  EXPECT_EQ(response->id, 1003);
  EXPECT_EQ(response->status, NETIF_RSP_OKAY);
}

TEST_F(Tx, the_parts_of_a_frame_come_from_several_pages) {
  front.put(slot(0, 60 + 4096 + 10, NETTXF_more_data));
  front.put(slot(1, 4096, NETTXF_more_data));
  front.put(slot(2, 10));
  const auto frame = next();
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->bytes.size(), 4166u);
  EXPECT_EQ(frame->bytes[59], std::byte{1});
  EXPECT_EQ(frame->bytes[60], std::byte{2});
  EXPECT_EQ(frame->bytes[4156], std::byte{3});
  EXPECT_EQ(statuses(), (std::vector<int>{0, 0, 0}));
}

TEST_F(Tx, extra_infos_are_answered_in_their_places) {
  front.put(slot(0, 60 + 4000, NETTXF_extra_info | NETTXF_more_data | NETTXF_csum_blank));
  front.put(gso(1448));
  front.put(slot(1, 4000));
  const auto frame = next();
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->offload.segmentation, Segmentation::tcpv4);
  EXPECT_EQ(frame->offload.segment_bytes, 1448);
  EXPECT_EQ(statuses(), (std::vector<int>{NETIF_RSP_OKAY, NETIF_RSP_NULL, NETIF_RSP_OKAY}));
}

TEST_F(Tx, sizes_and_places_are_checked) {
  front.put(slot(0, 100, 0, 4000));
  expect_refused("past the page's end");
  front.put(slot(0, 60, 0, 65'535));
  expect_refused("an offset past the page");
  front.put(slot(0, 5000));
  expect_refused("a part that is larger than a page");
  front.put(slot(0, 13));
  expect_refused("shorter than Ethernet's header");
  front.put(slot(0, 0));
  expect_refused("nothing");
  front.put(slot(0, 60, NETTXF_more_data));
  front.put(slot(1, 61));
  expect_refused("parts that are larger than the frame");
  front.put(slot(0, 60, NETTXF_more_data));
  front.put(slot(1, 40, NETTXF_more_data));
  front.put(slot(2, 65'535));
  expect_refused("parts whose sum overflows");
}

TEST_F(Tx, the_largest_frame_is_taken) {
  front.put(slot(0, 65'535, NETTXF_more_data));
  for (std::uint32_t n = 1; n < 16; ++n) front.put(slot(n, 4096, n < 15 ? NETTXF_more_data : 0));
  const auto frame = next();
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->bytes.size(), 65'535u);
}

TEST_F(Tx, grants_are_checked) {
  front.put(slot(400, 60));
  expect_refused("a grant that is none");
  guest.grant(first_ref + 1, first_frame + 1, GTF_permit_access, 7);
  front.put(slot(1, 60));
  expect_refused("another domain's");
  guest.grant(first_ref + 1, FakeTarget::frame_count + 5);
  front.put(slot(1, 60));
  expect_refused("a frame that is not the guest's");
  front.put(slot(0, 60 + 100, NETTXF_more_data));
  front.put(slot(1, 100));
  expect_refused("a part that can't be read");
  guest.grant(first_ref + 1, first_frame + 1, GTF_permit_access | GTF_readonly);
  front.put(slot(1, 60));
  EXPECT_TRUE(next()) << "reading is enough";
}

TEST_F(Tx, extra_infos_are_checked) {
  for (const unsigned size : {0U, 47U}) {
    front.put(slot(0, 60, NETTXF_extra_info));
    front.put(gso(size));
    expect_refused("segments that are too small");
  }
  for (const unsigned type : {0U, 3U, 255U}) {
    front.put(slot(0, 60, NETTXF_extra_info));
    front.put(gso(1448, type));
    expect_refused("a kind of segmentation that there is not");
  }
  auto multicast = gso(0);
  multicast.type = XEN_NETIF_EXTRA_TYPE_MCAST_ADD;
  front.put(slot(0, 60, NETTXF_extra_info));
  front.put(multicast);
  expect_refused("what was not offered");
}

/// Nothing says where the next frame begins.
struct BrokenTx : Tx {
  void expect_broken(const char* what) {
    EXPECT_FALSE(next()) << what;
    EXPECT_NE(tx.fault(), nullptr) << what;
    front.put(slot(0, 60));
    EXPECT_FALSE(next()) << what;
    EXPECT_TRUE(statuses().empty()) << what;
  }
};
TEST_F(BrokenTx, by_an_extra_info_of_no_type) {
  auto extra = gso(1448);
  extra.type = XEN_NETIF_EXTRA_TYPE_NONE;
  front.put(slot(0, 60, NETTXF_extra_info));
  front.put(extra);
  expect_broken("0");
}
TEST_F(BrokenTx, by_an_extra_info_of_unknown_type) {
  auto extra = gso(1448);
  extra.type = XEN_NETIF_EXTRA_TYPE_MAX;
  front.put(slot(0, 60, NETTXF_extra_info));
  front.put(extra);
  expect_broken("the first unknown one");
}
TEST_F(BrokenTx, by_extra_infos_without_end) {
  front.put(slot(0, 60, NETTXF_extra_info));
  for (int n = 0; n < 250; ++n) front.put(gso(1448, 1, XEN_NETIF_EXTRA_FLAG_MORE));
  expect_broken("250 of them");
}
TEST_F(BrokenTx, by_a_chain_without_end) {
  for (int n = 0; n < 250; ++n) front.put(slot(0, 60, NETTXF_more_data));
  expect_broken("250 requests");
}
TEST_F(BrokenTx, by_a_part_of_a_frame) {
  front.put(slot(0, 60, NETTXF_more_data));
  expect_broken("one of two requests");
}
TEST_F(BrokenTx, by_a_missing_extra_info) {
  front.put(slot(0, 60, NETTXF_extra_info));
  expect_broken("one of two requests");
}
TEST_F(BrokenTx, by_an_index_that_is_too_far) {
  front.set_producer(257);
  expect_broken("257 requests");
}
TEST_F(BrokenTx, by_an_index_that_goes_back) {
  front.put(slot(0, 60));
  EXPECT_TRUE(next());
  EXPECT_EQ(statuses().size(), 1u);
  front.set_producer(0);
  expect_broken("-1 requests");
}

struct Rx : Rings {
  void post(std::uint32_t count) {
    for (std::uint32_t n = 0; n < count; ++n)
      front.put(netif_rx_request{static_cast<std::uint16_t>(500 + n), 0, first_ref + n});
    front.push();
  }
  bool put(std::size_t bytes, const Offload& offload = {}) {
    frame.assign(bytes, std::byte{0xab});
    const bool all = rx.put({frame, offload});
    rx.ring().show();
    return all;
  }

  FakeRx front{guest.frame(ring_frame), sizeof(netif_rx_request)};
  RxSide rx{ring(), access};
  Bytes frame;
};

TEST_F(Rx, a_frame_fills_as_many_pages_as_it_needs) {
  post(3);
  ASSERT_TRUE(rx.has_room(3));
  EXPECT_TRUE(put(2 * 4096 + 10));
  const auto first = front.take(), second = front.take(), third = front.take();
  EXPECT_EQ(first->id, 500);
  EXPECT_EQ(first->status, 4096);
  EXPECT_EQ(first->flags, NETRXF_more_data);
  EXPECT_EQ(second->flags, NETRXF_more_data);
  EXPECT_EQ(third->status, 10);
  EXPECT_EQ(third->flags, 0);
  auto page = guest.frame(first_frame + 2);
  EXPECT_EQ(page.load<std::uint8_t>(9), 0xab);
  EXPECT_EQ(page.load<std::uint8_t>(10), 3) << "nothing is written behind the frame";
}

TEST_F(Rx, a_large_frame_has_its_extra_info_behind_the_first_part) {
  post(3);
  Offload offload;
  offload.checksum_blank = true;
  offload.segmentation = Segmentation::tcpv6;
  offload.segment_bytes = 1440;
  frame.assign(5000, std::byte{1});
  EXPECT_EQ(RxSide::slots_for({frame, offload}), 3u);
  EXPECT_TRUE(put(5000, offload));
  const auto first = front.take();
  EXPECT_EQ(first->flags, NETRXF_csum_blank | NETRXF_data_validated | NETRXF_extra_info | NETRXF_more_data);
  const auto extra = front.take<netif_extra_info>();
  EXPECT_EQ(extra->type, XEN_NETIF_EXTRA_TYPE_GSO);
  EXPECT_EQ(extra->flags, 0);
  EXPECT_EQ(extra->u.gso.size, 1440);
  EXPECT_EQ(extra->u.gso.type, XEN_NETIF_GSO_TYPE_TCPV6);
  EXPECT_EQ(front.take()->status, 5000 - 4096);
}

TEST_F(Rx, only_what_may_be_written_is_written) {
  guest.grant(first_ref, first_frame, GTF_permit_access | GTF_readonly);
  guest.grant(first_ref + 1, first_frame + 1, 0);
  guest.grant(first_ref + 2, FakeTarget::frame_count);
  post(4);
  EXPECT_FALSE(put(60));
  EXPECT_FALSE(put(60));
  EXPECT_FALSE(put(60));
  EXPECT_TRUE(put(60));
  for (int n = 0; n < 3; ++n) EXPECT_EQ(front.take()->status, NETIF_RSP_ERROR);
  EXPECT_EQ(front.take()->status, 60);
  EXPECT_EQ(guest.frame(first_frame).load<std::uint8_t>(0), 1);
  EXPECT_EQ(guest.frame(first_frame + 1).load<std::uint8_t>(0), 2);
}

TEST_F(Rx, an_event_is_asked_for_when_there_is_room_for_a_frame) {
  post(2);
  EXPECT_FALSE(rx.await(5));
  EXPECT_EQ(front.event(), 5u);
  post(3);
  EXPECT_TRUE(rx.await(5));
}

TEST_F(Rx, a_wrong_index_breaks_the_ring) {
  front.set_producer(1000);
  EXPECT_FALSE(rx.has_room(1));
  EXPECT_NE(rx.fault(), nullptr);
}

}  // namespace
}  // namespace pinfold::devices::net
