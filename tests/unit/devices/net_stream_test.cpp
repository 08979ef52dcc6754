// Frames in a stream, and sockets with peers of all kinds.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <numeric>

#include "devices/net/meter.hpp"
#include "devices/net/stream_lane.hpp"
#include "net_fakes.hpp"

namespace pinfold::devices::net {
namespace {

Bytes in_stream(const Bytes& frame) {
  const auto length = frame_length(frame.size());
  Bytes all(length.begin(), length.end());
  all.insert(all.end(), frame.begin(), frame.end());
  return all;
}

void feed(FrameStream& stream, std::span<const std::byte> bytes) {
  const auto space = stream.space();
  ASSERT_GE(space.size(), bytes.size());
  std::copy(bytes.begin(), bytes.end(), space.begin());
  stream.add(bytes.size());
}

TEST(FrameStream, gives_frames_however_the_bytes_come) {
  const Bytes small(14, std::byte{1}), large(most_frame_bytes, std::byte{2});
  Bytes all = in_stream(small);
  const Bytes second = in_stream(large), third = in_stream(small);
  all.insert(all.end(), second.begin(), second.end());
  all.insert(all.end(), third.begin(), third.end());
  for (const std::size_t piece : {std::size_t{1}, std::size_t{3}, std::size_t{1000}, all.size()}) {
    FrameStream stream;
    std::vector<std::size_t> sizes;
    for (std::size_t at = 0; at < all.size(); at += piece) {
      feed(stream, std::span(all).subspan(at, std::min(piece, all.size() - at)));
      while (const auto frame = stream.next()) sizes.push_back(frame->size());
    }
    EXPECT_EQ(sizes, (std::vector<std::size_t>{14, most_frame_bytes, 14})) << piece;
  }
}

TEST(FrameStream, a_length_that_no_frame_has_breaks_it) {
  for (const std::size_t length : {std::size_t{0}, most_frame_bytes + 1, std::size_t{0xffffffff}}) {
    FrameStream stream;
    feed(stream, in_stream(Bytes(14)));
    feed(stream, frame_length(length));
    EXPECT_TRUE(stream.next());
    EXPECT_FALSE(stream.next());
    EXPECT_TRUE(stream.is_broken()) << length;
    stream.clear();
    feed(stream, in_stream(Bytes(14)));
    EXPECT_TRUE(stream.next()) << "the next peer's";
  }
}

TEST(FrameStream, leaves_out_what_is_too_short_for_ethernet) {
  FrameStream stream;
  feed(stream, in_stream(Bytes(13)));
  feed(stream, in_stream(Bytes(14)));
  EXPECT_EQ(stream.next()->size(), 14u);
  EXPECT_FALSE(stream.next());
  EXPECT_FALSE(stream.is_broken());
}

struct Sockets : testing::Test {
  Sockets() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()), 0);
    lane = StreamLane::connected(vmm::Fd(ends[0]));
    peer = vmm::Fd(ends[1]);
  }
  void write(const Bytes& bytes) {
    ASSERT_EQ(::write(peer.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  std::size_t read_all() {
    Bytes buffer(1 << 20);
    std::size_t all = 0;
    ssize_t n = 0;
    while ((n = ::read(peer.get(), buffer.data(), buffer.size())) > 0) all += static_cast<std::size_t>(n);
    return all;
  }
  void send(std::size_t bytes) {
    Bytes frame(bytes);
    lane->send({frame, {}});
  }

  std::unique_ptr<StreamLane> lane;
  vmm::Fd peer;
};

TEST_F(Sockets, frames_go_both_ways) {
  send(60);
  send(1500);
  EXPECT_EQ(read_all(), 0u) << "not before flush()";
  lane->flush();
  EXPECT_EQ(read_all(), 4u + 60 + 4 + 1500);
  write(in_stream(Bytes(99)));
  EXPECT_EQ(lane->receive()->bytes.size(), 99u);
  EXPECT_FALSE(lane->receive());
}

TEST_F(Sockets, a_peer_that_does_not_read_makes_little_wait) {
  std::size_t frames = 0;
  while (lane->can_send()) {
    send(1000);
    lane->flush();
    ASSERT_LT(++frames, 10'000u);
  }
  EXPECT_TRUE(lane->waits_to_send());
  std::size_t all = read_all();
  for (int n = 0; n < 100 && lane->waits_to_send(); ++n) {
    lane->flush();
    all += read_all();
  }
  EXPECT_EQ(all, frames * 1004) << "nothing is lost";
  EXPECT_TRUE(lane->can_send());
}

TEST_F(Sockets, a_peer_that_is_gone_takes_everything_and_gives_nothing) {
  peer = vmm::Fd();
  for (int n = 0; n < 1000; ++n) {
    EXPECT_TRUE(lane->can_send());
    send(65'000);
    lane->flush();
  }
  EXPECT_FALSE(lane->receive());
  EXPECT_EQ(lane->descriptor(), -1) << "nothing to poll any more";
}

TEST_F(Sockets, a_peer_that_sends_nonsense_is_hung_up_on) {
  write(Bytes(64, std::byte{0xff}));
  EXPECT_FALSE(lane->receive());
  EXPECT_EQ(lane->descriptor(), -1);
}

TEST(Listening, peers_come_one_after_the_other) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;  // and a name that the kernel chooses
  vmm::Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  socklen_t size = sizeof address;
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const auto lane = StreamLane::listening(std::move(listener));
  EXPECT_FALSE(lane->receive());
  Bytes lost(100);
  lane->send({lost, {}});
  lane->flush();
  for (int round = 0; round < 3; ++round) {
    const vmm::Fd peer(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(peer.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    const Bytes half{std::byte{0}, std::byte{0}};  // what it leaves behind is not the next one's
    const Bytes frame = in_stream(Bytes(50 + static_cast<std::size_t>(round)));
    ASSERT_EQ(::write(peer.get(), frame.data(), frame.size()), static_cast<ssize_t>(frame.size()));
    ASSERT_EQ(::write(peer.get(), half.data(), half.size()), 2);
    const auto got = lane->receive();
    ASSERT_TRUE(got);
    EXPECT_EQ(got->bytes.size(), 50u + static_cast<std::size_t>(round));
    EXPECT_FALSE(lane->receive());
    Bytes back(20);
    lane->send({back, {}});
    lane->flush();
    Bytes buffer(1000);
    EXPECT_EQ(::read(peer.get(), buffer.data(), buffer.size()), 24) << "and nothing from before";
    ASSERT_EQ(::shutdown(peer.get(), SHUT_RDWR), 0);
    EXPECT_FALSE(lane->receive());
  }
}

TEST(Meter, lets_so_many_bytes_through_in_each_interval) {
  using namespace std::chrono_literals;
  Meter meter({10'000, 50ms});
  auto now = Meter::Clock::now();
  std::size_t sent = 0;
  for (const auto end = now + 10s; now < end; now += 1ms)
    while (!meter.wait(now)) {
      meter.spend(1500);
      sent += 1500;
    }
  EXPECT_NEAR(static_cast<double>(sent), 2'000'000, 20'000);
  meter.spend(65'535);
  EXPECT_TRUE(meter.wait(now + 100ms));
  EXPECT_FALSE(meter.wait(now + 1s)) << "the debt of a frame is paid";
}

}  // namespace
}  // namespace pinfold::devices::net
