// Images behind an NBD server.
#include "devices/block/nbd_image.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <string>

#include "nbd_server.hpp"

namespace pinfold::devices::block::test {
namespace {

TEST(NbdImage, reads_and_writes_flushes_and_discards) {
  std::string disk(mib, 'a');
  Server server([&](Peer& peer) { serve_disk(peer, disk); });
  ASSERT_EQ(server.open(), "");
  const Geometry is = server.image->geometry();
  EXPECT_EQ(is.sectors, mib / 512);
  EXPECT_TRUE(is.can_flush && is.can_discard && !is.read_only);
  {
    const auto queue = queue_of(*server.image);
    Buffer written(std::string(4096, 'b')), read(std::string(8192, '?'));
    EXPECT_EQ(result_of(*queue, written.transfer(Operation::write, 4096)), 0);
    EXPECT_EQ(result_of(*queue, {Operation::flush, 0, 0, {}, 1}), 0);
    EXPECT_EQ(result_of(*queue, read.transfer(Operation::read, 0)), 0);
    EXPECT_EQ(read.bytes, std::string(4096, 'a') + std::string(4096, 'b'));
    EXPECT_EQ(result_of(*queue, {Operation::discard, 0, 4096, {}, 1}), 0);
    EXPECT_EQ(result_of(*queue, read.transfer(Operation::read, 0)), 0);
    EXPECT_EQ(read.bytes, std::string(4096, '\0') + std::string(4096, 'b'));
    EXPECT_EQ(result_of(*queue, read.transfer(Operation::read, mib - 4096)), EINVAL);
  }
}

TEST(NbdImage, of_a_server_without_multi_conn_has_one_queue) {
  std::string disk(mib, 'a');
  Server one([&](Peer& peer) { serve_disk(peer, disk, has_flags | flush); }, 3);
  ASSERT_EQ(one.open(), "");
  EXPECT_EQ(one.image->most_queues(), 1U);
  Server several([&](Peer& peer) { serve_disk(peer, disk); }, 3);
  ASSERT_EQ(several.open(), "");
  EXPECT_EQ(several.image->most_queues(), 3U);
}

TEST(NbdImage, an_error_of_the_servers_is_one_of_the_transfer) {
  Server server([](Peer& peer) {
    if (!peer.greet(mib, usual)) return;
    for (Request request; peer.take(request) && request.type != 2;)
      peer.answer(request.cookie, request.type == 3 ? 5 : 28);
  });
  ASSERT_EQ(server.open(), "");
  const auto queue = queue_of(*server.image);
  Buffer buffer(std::string(4096, 'b'));
  EXPECT_EQ(result_of(*queue, buffer.transfer(Operation::write, 0)), ENOSPC);
  EXPECT_EQ(result_of(*queue, {Operation::flush, 0, 0, {}, 1}), EIO);
  // What was lost stays lost.
  EXPECT_EQ(result_of(*queue, {Operation::flush, 0, 0, {}, 1}), EIO);
}

TEST(NbdImage, its_queue_ends_while_something_is_on_its_way) {
  Server server([](Peer& peer) {
    if (!peer.greet(mib, usual)) return;
    while (!peer.take(1).empty()) {
    }
  });
  ASSERT_EQ(server.open(), "");
  auto queue = queue_of(*server.image);
  Buffer buffer(std::string(8192, 'b'));
  EXPECT_TRUE(queue->submit(buffer.transfer(Operation::write, 0)));
  queue.reset();
}

/// A guest that starts again in its machine has new queues, and the server the same connection.
TEST(NbdImage, a_later_queue_has_the_connection_of_one_that_ended) {
  std::string disk(mib, 'a');
  Server server([&](Peer& peer) { serve_disk(peer, disk); });
  ASSERT_EQ(server.open(), "");
  for (const char content : {'b', 'c', 'd'}) {
    auto queue = queue_of(*server.image);
    ASSERT_NE(queue, nullptr);
    EXPECT_FALSE(server.image->make_queue(8)) << "it is in use";
    Buffer written(std::string(4096, content)), read(std::string(8192, '?'));
    EXPECT_EQ(result_of(*queue, written.transfer(Operation::write, 4096)), 0);
    EXPECT_EQ(result_of(*queue, read.transfer(Operation::read, 0)), 0);
    EXPECT_EQ(read.bytes, std::string(4096, 'a') + std::string(4096, content));
    // It ends with answers to come, which the next queue must not see. Nobody writes to the buffer.
    Buffer late(std::string(8192, '?'));
    EXPECT_TRUE(queue->submit(late.transfer(Operation::read, 0)));
    queue.reset();
    EXPECT_EQ(late.bytes, std::string(8192, '?'));
  }
}

/// A monitor that is confined can make none.
TEST(NbdImage, its_queue_is_woken_by_what_it_was_lent_and_gives_it_back) {
  std::string disk(mib, 'a');
  Server server([&](Peer& peer) { serve_disk(peer, disk); });
  NbdImageOptions options;
  options.wakes = WakeReserve::make(1).value();
  ASSERT_EQ(server.open(options), "");
  {
    const auto queue = queue_of(*server.image);
    EXPECT_FALSE(options.wakes->lend());
    // Past the end: the answer is not the server's.
    Buffer buffer(std::string(4096, '?'));
    EXPECT_EQ(result_of(*queue, buffer.transfer(Operation::read, mib)), EINVAL);
    EXPECT_TRUE(queue->submit(buffer.transfer(Operation::read, mib)));
  }
  auto lent = options.wakes->lend();
  ASSERT_TRUE(lent);
  pollfd is_woken{lent->wake.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&is_woken, 1, 0), 0) << "what the last queue had to say is of nobody's interest";
  EXPECT_FALSE(server.image->make_queue(8)) << "there was only one";
  lent->give_back(std::move(lent->wake));
  EXPECT_TRUE(server.image->make_queue(8));
}

TEST(NbdImage, its_tie_is_closed_after_its_connection) {
  std::array<int, 2> tie{};
  ASSERT_EQ(::pipe2(tie.data(), O_CLOEXEC), 0);
  const vmm::Fd other_end(tie[0]);
  pollfd is_closed{other_end.get(), POLLIN, 0};
  Server server([&](Peer& peer) {
    if (!peer.greet(mib, usual)) return;
    while (!peer.take(1).empty()) {
    }
  });
  NbdImageOptions options;
  options.name = "test";
  auto opened = open_nbd_image(std::move(server.sockets), options, vmm::Fd(tie[1]));
  server.sockets.clear();
  ASSERT_TRUE(opened) << opened.error();
  EXPECT_EQ(::poll(&is_closed, 1, 0), 0);
  opened->image.reset();
  EXPECT_EQ(::poll(&is_closed, 1, 10'000), 1);
}

}  // namespace
}  // namespace pinfold::devices::block::test
