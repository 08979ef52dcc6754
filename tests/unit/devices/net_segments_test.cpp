// Headers, checksums, and large packets that are cut.
#include <gtest/gtest.h>

#include <random>

#include "devices/net/checksum.hpp"
#include "devices/net/segmenter.hpp"
#include "net_fakes.hpp"

namespace pinfold::devices::net {
namespace {

/// RFC 1071, as it is written there.
std::uint16_t slow_sum(std::span<const std::byte> bytes) {
  std::uint32_t sum = 0;
  for (std::size_t n = 0; n < bytes.size(); ++n)
    sum += std::to_integer<std::uint32_t>(bytes[n]) << (n % 2 == 0 ? 8U : 0U);
  while (sum >> 16U != 0) sum = (sum & 0xffffU) + (sum >> 16U);
  return static_cast<std::uint16_t>(sum);
}

/// Is the transport checksum right? Then the sum of all that it covers is ~0.
bool is_right(const Frame& frame) {
  const auto h = find_headers(frame.bytes);
  if (!h) return false;
  const auto packet = frame.bytes.subspan(h->transport, h->end - h->transport);
  const std::uint32_t all = slow_sum(packet) + pseudo_header_sum(frame.bytes, *h, packet.size());
  return (all & 0xffffU) + (all >> 16U) == 0xffff;
}

TEST(Headers, are_found_behind_tags_and_in_both_versions) {
  for (const bool ipv6 : {false, true})
    for (const bool tcp : {false, true})
      for (const std::size_t tags : {0U, 1U, 2U}) {
        const auto h = find_headers(make_packet({ipv6, tcp, 10, 0, tags}));
        ASSERT_TRUE(h) << ipv6 << tcp << tags;
        EXPECT_EQ(h->network, 14 + 4 * tags);
        EXPECT_EQ(h->transport, h->network + (ipv6 ? 40 : 20));
        EXPECT_EQ(h->checksum, h->transport + (tcp ? 16 : 6));
        EXPECT_EQ(h->end - h->payload, 10u);
        EXPECT_EQ(h->is_tcp, tcp);
      }
  EXPECT_FALSE(find_headers(make_packet({false, true, 10, 0, 3})));
}

TEST(Headers, that_contradict_each_other_are_none) {
  const auto changed = [](bool ipv6, std::size_t at, int value) {
    auto frame = make_packet({ipv6, true, 10});
    frame[at] = std::byte(value);
    return find_headers(frame).has_value();
  };
  EXPECT_TRUE(changed(false, 14, 0x45));
  EXPECT_FALSE(changed(false, 14, 0x44)) << "a header of 16 bytes";
  EXPECT_FALSE(changed(false, 14, 0x65)) << "another version";
  EXPECT_FALSE(changed(false, 16, 1)) << "longer than the frame";
  EXPECT_FALSE(changed(false, 17, 19)) << "shorter than its header";
  EXPECT_FALSE(changed(false, 20, 0x20)) << "more fragments";
  EXPECT_FALSE(changed(false, 21, 1)) << "a later fragment";
  EXPECT_FALSE(changed(false, 23, 1)) << "ICMP";
  EXPECT_FALSE(changed(false, 14 + 20 + 12, 0x40)) << "a TCP header of 16 bytes";
  EXPECT_FALSE(changed(false, 14 + 20 + 12, 0xf0)) << "a TCP header behind the end";
  EXPECT_FALSE(changed(true, 18, 1)) << "longer than the frame";
  EXPECT_FALSE(changed(true, 20, 44)) << "a fragment";
  EXPECT_FALSE(changed(true, 20, 0)) << "an extension that is longer than the packet";
}

TEST(Headers, of_a_frame_cut_anywhere_lie_in_it) {
  for (const bool ipv6 : {false, true}) {
    auto frame = make_packet({ipv6, true, 30, 8});
    while (!frame.empty()) {
      frame.pop_back();
      const auto h = find_headers(frame);
      EXPECT_TRUE(!h || h->end <= frame.size());
    }
  }
}

TEST(Headers, padding_is_not_summed) {
  auto frame = make_packet({false, false, 3});
  frame.resize(60, std::byte{0xff});
  const auto h = find_headers(frame).value();
  EXPECT_EQ(h.end, 14u + 20 + 8 + 3);
  fill_checksum(frame, h);
  EXPECT_TRUE(is_right({frame, {}}));
}

TEST(Checksum, is_that_of_the_rfc) {
  std::mt19937 random(1);
  for (std::size_t size = 0; size < 300; ++size) {
    Bytes bytes(size);
    for (auto& byte : bytes) byte = std::byte(random() % 256);
    EXPECT_EQ(sum16(bytes), slow_sum(bytes)) << size;
  }
  EXPECT_EQ(sum16(Bytes(70'000, std::byte{0xff})), 0xffff);
}

TEST(Checksum, of_udp_is_never_0) {
  auto frame = make_packet({false, false, 2});
  const auto h = find_headers(frame).value();
  // A payload that makes the sum ~0.
  put16(frame, h.payload, 0);
  fill_checksum(frame, h);
  const std::uint16_t rest = get16(frame, h.checksum);
  put16(frame, h.payload, rest);
  fill_checksum(frame, h);
  EXPECT_EQ(get16(frame, h.checksum), 0xffff);
}

TEST(Segmenter, fills_a_blank_checksum) {
  for (const bool ipv6 : {false, true})
    for (const bool tcp : {false, true}) {
      auto frame = make_packet({ipv6, tcp, 111});
      Bytes scratch(frame.size());
      Offload offload;
      offload.checksum_blank = true;
      auto segments = Segmenter::of({frame, offload}, scratch);
      ASSERT_TRUE(segments);
      const auto segment = segments->next();
      ASSERT_TRUE(segment);
      EXPECT_TRUE(is_right(*segment)) << ipv6 << tcp;
      EXPECT_FALSE(segment->offload.checksum_blank);
      EXPECT_FALSE(segments->next());
    }
}

struct Cut : testing::TestWithParam<std::tuple<bool, std::size_t, std::uint16_t>> {};

TEST_P(Cut, segments_make_up_the_packet) {
  const auto [ipv6, payload, size] = GetParam();
  auto whole = make_packet({ipv6, true, payload, 12});
  const auto original = whole;
  const auto h = find_headers(original).value();
  Bytes scratch(whole.size()), collected;
  Offload offload;
  offload.checksum_blank = true;
  offload.segmentation = ipv6 ? Segmentation::tcpv6 : Segmentation::tcpv4;
  offload.segment_bytes = size;
  auto segments = Segmenter::of({whole, offload}, scratch);
  ASSERT_TRUE(segments);
  std::size_t count = 0;
  for (;;) {
    const auto segment = segments->next();
    if (!segment) break;
    const auto here = find_headers(segment->bytes);
    ASSERT_TRUE(here);
    EXPECT_EQ(here->end, segment->bytes.size());
    EXPECT_TRUE(is_right(*segment));
    EXPECT_EQ(segment->offload.segmentation, Segmentation::none);
    EXPECT_LE(here->end - here->payload, size);
    EXPECT_EQ(get32(segment->bytes, here->transport + 4), 1000 + collected.size());
    const auto part = segment->bytes.subspan(here->payload);
    collected.insert(collected.end(), part.begin(), part.end());
    const bool last = collected.size() == payload;
    const auto flags = std::to_integer<unsigned>(segment->bytes[here->transport + 13]);
    EXPECT_EQ(flags & 0x09U, last ? 0x09U : 0U) << "FIN and PSH";
    EXPECT_EQ(flags & 0x80U, count == 0 ? 0x80U : 0U) << "CWR";
    if (!ipv6 && payload > size) {
      EXPECT_EQ(get16(segment->bytes, here->network + 4), 77 + count);
      EXPECT_EQ(slow_sum(segment->bytes.subspan(here->network, 20)), 0xffff);
    }
    ++count;
  }
  EXPECT_EQ(count, payload == 0 ? 1 : (payload + size - 1) / size);
  EXPECT_TRUE(
      std::equal(collected.begin(), collected.end(), original.begin() + static_cast<long>(h.payload)));
}

INSTANTIATE_TEST_SUITE_P(Sizes, Cut,
                         testing::Combine(testing::Bool(), testing::Values(0, 1, 999, 1000, 1001, 65'000),
                                          testing::Values(std::uint16_t{48}, std::uint16_t{1000})));

TEST(Segmenter, refuses_what_is_not_what_it_says) {
  const auto accepts = [](PacketShape shape, Segmentation kind, std::uint16_t size) {
    auto frame = make_packet(shape);
    Bytes scratch(frame.size());
    Offload offload;
    offload.checksum_blank = true;
    offload.segmentation = kind;
    offload.segment_bytes = size;
    return Segmenter::of({frame, offload}, scratch).has_value();
  };
  EXPECT_TRUE(accepts({}, Segmentation::tcpv4, 48));
  EXPECT_FALSE(accepts({}, Segmentation::tcpv4, 47)) << "a segment's headers would be most of it";
  EXPECT_FALSE(accepts({}, Segmentation::tcpv4, 0));
  EXPECT_FALSE(accepts({}, Segmentation::tcpv6, 1000));
  EXPECT_FALSE(accepts({.ipv6 = true}, Segmentation::tcpv4, 1000));
  EXPECT_FALSE(accepts({.tcp = false}, Segmentation::tcpv4, 1000));
  auto no_ip = Bytes(60);
  Offload blank;
  blank.checksum_blank = true;
  EXPECT_FALSE(Segmenter::of({no_ip, blank}, no_ip));
  EXPECT_TRUE(Segmenter::of({no_ip, {}}, no_ip));
}

TEST(Segmenter, does_not_copy_long_headers_again_and_again) {
  auto frame = make_packet({true, false, 40'000});
  // UDP becomes a TCP packet behind a hop-by-hop header of 2,048 bytes.
  frame[20] = std::byte{0};
  frame[54] = std::byte{6};
  frame[55] = std::byte{255};
  const std::size_t transport = 54 + 2048;
  frame[transport + 12] = std::byte{0x50};
  ASSERT_TRUE(find_headers(frame));
  Offload offload;
  offload.checksum_blank = true;
  offload.segmentation = Segmentation::tcpv6;
  offload.segment_bytes = 48;
  Bytes scratch(frame.size());
  EXPECT_FALSE(Segmenter::of({frame, offload}, scratch));
}

}  // namespace
}  // namespace pinfold::devices::net
