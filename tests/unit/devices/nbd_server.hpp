// A server of NBD images, which may lie: a thread of the test's.
#pragma once

#include <endian.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "devices/block/nbd_image.hpp"

namespace pinfold::devices::block::test {

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
inline void serve_disk(Peer& peer, std::string& disk, std::uint16_t flags = usual) {
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
inline int result_of(TransferQueue& queue, const Transfer& transfer) {
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

inline std::unique_ptr<TransferQueue> queue_of(Image& image) {
  auto queue = image.make_queue(8);
  EXPECT_TRUE(queue);
  return queue ? std::move(*queue) : nullptr;
}

}  // namespace pinfold::devices::block::test
