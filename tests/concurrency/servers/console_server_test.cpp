// The console's socket under readers that come, type and go, while the guest prints.
#include "cli/console/server.hpp"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "sockets.hpp"

namespace pinfold::cli {
namespace {

constexpr int rounds = 60;

struct ConsoleServerThreads : testing::Test {
  void guest() {
    std::mt19937 random(1);
    const std::string text(5000, 'x');
    while (!over) {
      const auto piece = std::as_bytes(std::span(text)).first(random() % text.size() + 1);
      EXPECT_EQ(hub.offer(piece), piece.size()) << "no reader makes the guest wait";
    }
  }
  void reader(unsigned seed) {
    std::mt19937 random(seed);
    std::array<char, 4096> bytes;
    for (int round = 0; round < rounds; ++round) {
      const vmm::Fd socket = listener.connect();
      for (auto n = random() % 8; n != 0; --n) {
        if (::recv(socket.get(), bytes.data(), bytes.size(), 0) <= 0) return;
        if (!send_all(socket, "typed")) return;
      }
    }
  }
  /// Takes only some of what is typed, as a guest does.
  std::size_t type(std::span<const std::byte> bytes) {
    typed += bytes.size();
    return bytes.size() - (typed % 3 == 0 ? 1 : 0);
  }

  Listener listener;
  ConsoleHub hub;
  ConsoleServer server{hub, listener.fd(), vmm::Fd()};
  std::size_t typed = 0;  ///< Used by the server's thread.
  std::atomic<bool> over{false};
};

TEST_F(ConsoleServerThreads, readers_come_and_go_while_the_guest_prints) {
  server.start([this](auto bytes) { return type(bytes); });
  std::thread printing([&] { guest(); });
  std::vector<std::thread> readers;
  for (unsigned seed = 1; seed <= 4; ++seed) readers.emplace_back([this, seed] { reader(seed); });
  for (std::thread& thread : readers) thread.join();
  over = true;
  printing.join();
  server.close();
  EXPECT_GT(typed, 0u);
}

TEST_F(ConsoleServerThreads, it_closes_under_its_readers_and_the_guests_output) {
  server.start([this](auto bytes) { return type(bytes); });
  std::thread printing([&] { guest(); });
  std::vector<std::thread> readers;
  std::atomic<int> reading{0};
  for (int n = 0; n < 3; ++n)
    readers.emplace_back([this, &reading] {
      std::array<char, 4096> bytes;
      const vmm::Fd socket = listener.connect();
      if (::recv(socket.get(), bytes.data(), bytes.size(), 0) > 0) ++reading;
      while (::recv(socket.get(), bytes.data(), bytes.size(), 0) > 0) {
      }
    });
  while (reading < 3) std::this_thread::yield();
  over = true;
  server.close();
  printing.join();
  for (std::thread& thread : readers) thread.join();
}

}  // namespace
}  // namespace pinfold::cli
