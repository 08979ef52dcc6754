// Images behind an NBD server, which may lie: a thread of the test's is the server.
#include "devices/block/nbd_image.hpp"

#include <endian.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <thread>

namespace pinfold::devices::block::test {
namespace {

constexpr std::uint64_t mib = 1 << 20;
constexpr std::uint16_t has_flags = 1, read_only = 2, flush = 4, trim = 32, multi_conn = 256;
constexpr std::uint16_t usual = has_flags | flush | trim | multi_conn;

struct Request {
  std::uint16_t type = 0;
  std::uint64_t cookie = 0, offset = 0;
  std::uint32_t length = 0;
  std::string data;
};

/// One end of a connection, as a server has it (doc/proto.md of NetworkBlockDevice, with simple replies).
class Peer {
 public:
  explicit Peer(int fd) : fd_(fd) {}
  ~Peer() { ::close(fd_); }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  template <class T>
  void send(T value) {
    if constexpr (sizeof value == 2) value = static_cast<T>(htobe16(static_cast<std::uint16_t>(value)));
    if constexpr (sizeof value == 4) value = static_cast<T>(htobe32(static_cast<std::uint32_t>(value)));
    if constexpr (sizeof value == 8) value = static_cast<T>(htobe64(static_cast<std::uint64_t>(value)));
    send_bytes({reinterpret_cast<const char*>(&value), sizeof value});
  }
  void send_bytes(std::string_view bytes) { (void)::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  /// Empty: the client is gone.
  std::string take(std::size_t count) {
    std::string bytes(count, 0);
    return ::recv(fd_, bytes.data(), count, MSG_WAITALL) == static_cast<ssize_t>(count) ? bytes : "";
  }
  template <class T>
  bool read(T& value) {
    const std::string bytes = take(sizeof value);
    if (bytes.empty()) return false;
    std::memcpy(&value, bytes.data(), sizeof value);
    if constexpr (sizeof value == 2) value = be16toh(value);
    if constexpr (sizeof value == 4) value = be32toh(value);
    if constexpr (sizeof value == 8) value = be64toh(value);
    return true;
  }

  /// Refuses all options until the client falls back on NBD_OPT_EXPORT_NAME.
  bool greet(std::uint64_t bytes, std::uint16_t flags) {
    send_bytes("NBDMAGICIHAVEOPT");
    send(std::uint16_t{1});
    std::uint32_t client = 0, option = 0, length = 0;
    std::uint64_t magic = 0;
    if (!read(client)) return false;
    while (read(magic) && read(option) && read(length)) {
      if (length > 0) name = take(length);
      if (option == 1) {
        send(bytes);
        send(flags);
        send_bytes(std::string(124, '\0'));
        return true;
      }
      send(std::uint64_t{0x3e889045565a9});
      send(option);
      send(std::uint32_t{0x80000001});
      send(std::uint32_t{0});
    }
    return false;
  }

  bool take(Request& request) {
    std::uint32_t magic = 0;
    std::uint16_t flags = 0;
    if (!read(magic) || !read(flags) || !read(request.type) || !read(request.cookie) ||
        !read(request.offset) || !read(request.length))
      return false;
    if (request.type == 1) request.data = take(request.length);
    return magic == 0x25609513;
  }
  void answer(std::uint64_t cookie, std::uint32_t error = 0, std::string_view data = {}) {
    send(std::uint32_t{0x67446698});
    send(error);
    send(cookie);
    send_bytes(data);
  }

  std::string name;

 private:
  int fd_;
};

using Serve = std::function<void(Peer&)>;

/// Servers for an image, and the image.
class Server {
 public:
  explicit Server(Serve serve, std::size_t connections = 1) {
    for (std::size_t n = 0; n < connections; ++n) {
      std::array<int, 2> ends{};
      EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
      sockets.emplace_back(ends[0]);
      threads_.emplace_back([serve, fd = ends[1]] {
        Peer peer(fd);
        serve(peer);
      });
    }
  }
  ~Server() {
    image.reset();
    sockets.clear();
    for (std::thread& thread : threads_) thread.join();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::string open(NbdImageOptions options = {}) {
    options.name = "test";
    options.connect_patience = std::chrono::milliseconds(2000);
    if (options.patience.count() == 120'000) options.patience = std::chrono::milliseconds(10'000);
    auto opened = open_nbd_image(std::move(sockets), options);
    sockets.clear();
    if (!opened) return opened.error();
    image = std::move(opened->image);
    return "";
  }

  std::vector<vmm::Fd> sockets;
  std::unique_ptr<Image> image;

 private:
  std::vector<std::thread> threads_;
};

/// An honest server of a disk in memory.
void serve_disk(Peer& peer, std::string& disk, std::uint16_t flags = usual) {
  if (!peer.greet(disk.size(), flags)) return;
  for (Request request; peer.take(request);) {
    if (request.type == 2) return;
    if (request.type == 1) disk.replace(request.offset, request.length, request.data);
    if (request.type == 4) disk.replace(request.offset, request.length, request.length, '\0');
    peer.answer(request.cookie, 0,
                request.type == 0 ? std::string_view(disk).substr(request.offset, request.length) : "");
  }
}

/// The result of one transfer, within some seconds; -1: there is none.
int result_of(TransferQueue& queue, const Transfer& transfer) {
  if (!queue.submit(transfer)) return -1;
  queue.start();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  int result = -1;
  while (queue.on_the_way() != 0 && std::chrono::steady_clock::now() < end) {
    std::vector<pollfd> all;
    queue.add_descriptors(all);
    const auto patience = queue.patience();
    (void)::poll(all.data(), all.size(),
                 patience ? static_cast<int>(patience->count() / 1'000'000) + 1 : 1000);
    queue.collect([&](const Completion& done) { result = done.error; });
  }
  return result;
}

struct Buffer {
  std::string bytes;
  std::vector<iovec> pieces;
  explicit Buffer(std::string content) : bytes(std::move(content)) {
    // Three pieces.
    const std::size_t third = bytes.size() / 3;
    pieces = {{bytes.data(), third},
              {bytes.data() + third, third},
              {bytes.data() + 2 * third, bytes.size() - 2 * third}};
  }
  Transfer transfer(Operation operation, std::uint64_t offset) {
    return {operation, offset, bytes.size(), pieces, 7};
  }
};

std::unique_ptr<TransferQueue> queue_of(Image& image) {
  auto queue = image.make_queue(8);
  EXPECT_TRUE(queue);
  return queue ? std::move(*queue) : nullptr;
}

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

TEST(NbdServers, that_claim_what_no_disk_has_are_refused) {
  struct Claim {
    std::uint64_t bytes;
    std::uint16_t flags;
    const char* why;
  };
  for (const Claim& claim : {Claim{0, usual, "empty"}, Claim{mib + 1, usual, "blocks"},
                             Claim{(1ULL << 62) + 512, usual, "impossible"}, Claim{~0ULL, usual, ""},
                             Claim{mib, usual | read_only, "read-only"}}) {
    Server server([&](Peer& peer) {
      if (peer.greet(claim.bytes, claim.flags)) (void)peer.take(1);
    });
    const std::string error = server.open();
    EXPECT_NE(error, "") << claim.bytes;
    EXPECT_NE(error.find(claim.why), std::string::npos) << error;
  }
}

TEST(NbdServers, that_are_none_are_refused) {
  for (const std::string said :
       {"", "NBDMAGIC", "HTTP/1.1 400 Bad Request\r\n\r\n and more of it, as servers say"}) {
    Server server([&](Peer& peer) { peer.send_bytes(said); });
    EXPECT_NE(server.open().find("its server can't be used"), std::string::npos) << said;
  }
}

/// After what this server does, the transfer fails, and so do all later ones.
void expect_lost(const std::function<void(Peer&, const Request&)>& misbehave,
                 std::chrono::milliseconds patience = std::chrono::milliseconds(10'000)) {
  Server server([&](Peer& peer) {
    Request request;
    if (!peer.greet(mib, usual) || !peer.take(request)) return;
    misbehave(peer, request);
    while (!peer.take(1).empty()) {
    }
  });
  NbdImageOptions options;
  options.patience = patience;
  ASSERT_EQ(server.open(options), "");
  const auto queue = queue_of(*server.image);
  Buffer buffer(std::string(8192, '?'));
  EXPECT_EQ(result_of(*queue, buffer.transfer(Operation::read, 0)), EIO);
  EXPECT_EQ(buffer.bytes, std::string(8192, '?'));
  EXPECT_EQ(result_of(*queue, {Operation::flush, 0, 0, {}, 1}), EIO);
}

TEST(NbdServers, that_answer_to_nothing_that_was_asked_lose_the_connection) {
  expect_lost(
      [](Peer& peer, const Request& request) { peer.answer(request.cookie + 1, 0, std::string(8192, 'x')); });
}

TEST(NbdServers, that_speak_another_language_lose_the_connection) {
  expect_lost([](Peer& peer, const Request&) { peer.send_bytes(std::string(16, 'x')); });
}

TEST(NbdServers, that_never_answer_lose_the_connection) {
  expect_lost([](Peer&, const Request&) {}, std::chrono::milliseconds(300));
}

TEST(NbdServers, that_stop_within_an_answer_lose_the_connection) {
  expect_lost(
      [](Peer& peer, const Request& request) { peer.answer(request.cookie, 0, std::string(4096, 'x')); },
      std::chrono::milliseconds(300));
}

TEST(NbdServers, that_end_lose_what_is_on_its_way) {
  Server server([](Peer& peer) {
    Request request;
    if (peer.greet(mib, usual)) (void)peer.take(request);
  });
  ASSERT_EQ(server.open(), "");
  const auto queue = queue_of(*server.image);
  Buffer buffer(std::string(8192, 'b'));
  EXPECT_EQ(result_of(*queue, buffer.transfer(Operation::write, 0)), EIO);
  EXPECT_EQ(result_of(*queue, buffer.transfer(Operation::read, 0)), EIO);
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

TEST(NbdServers, are_not_waited_for_when_the_image_is_given_up) {
  Server server([](Peer& peer) {
    while (!peer.take(1).empty()) {
    }
  });
  const auto given_up = std::make_shared<std::atomic<bool>>(false);
  NbdImageOptions options;
  options.name = "test";
  options.given_up = given_up;
  std::thread gives_up([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    *given_up = true;
  });
  const auto before = std::chrono::steady_clock::now();
  EXPECT_FALSE(open_nbd_image(std::move(server.sockets), options));
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(20));
  gives_up.join();
  server.sockets.clear();
}

}  // namespace
}  // namespace pinfold::devices::block::test
