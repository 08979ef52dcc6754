// The store's socket under clients that come and go, while guests and the monitor use the same store.
#include "cli/control/store_server.hpp"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "devices/xenstore/message.hpp"
#include "sockets.hpp"

namespace pinfold::cli {
namespace {

using namespace devices::xenstore;
using namespace std::string_literals;

constexpr int rounds = 40, requests = 30;
constexpr TransactionId no_tx{0};

struct StoreServerThreads : testing::Test {
  StoreServerThreads() {
    store->introduce(DomId(1));
    EXPECT_TRUE(store->write(home, "", Permissions(DomId(1))));
  }
  /// The reply to a request; events before it are passed over. Nothing: the server is gone.
  static std::optional<Message> ask(const vmm::Fd& socket, const Message& request) {
    if (!send_all(socket, request.wire())) return std::nullopt;
    for (;;) {
      xsd_sockmsg header{};
      if (::recv(socket.get(), &header, sizeof header, MSG_WAITALL) != sizeof header) return std::nullopt;
      std::string payload(header.len, 0);
      if (header.len != 0 &&
          ::recv(socket.get(), payload.data(), payload.size(), MSG_WAITALL) != ssize_t{header.len})
        return std::nullopt;
      if (header.type != XS_WATCH_EVENT)
        return Message{header.type, header.req_id, TransactionId(header.tx_id), payload};
    }
  }
  /// A program of the host that watches, writes in and outside of transactions, and leaves in the middle.
  void host(unsigned seed) {
    std::mt19937 random(seed);
    for (int round = 0; round < rounds; ++round) {
      const vmm::Fd socket = listener.connect();
      TransactionId tx = no_tx;
      for (int i = 0; i < requests; ++i) {
        Message request{XS_READ, 7, tx, "/local/domain/1/a\0"s};
        switch (random() % 5) {
          case 0: request.type = XS_WRITE, request.payload += std::to_string(random()); break;
          case 1: request = {XS_WATCH, 7, no_tx, "/local/domain/1\0token\0"s}; break;
          case 2: request = {XS_TRANSACTION_START, 7, no_tx, "\0"s}; break;
          case 3: request = {XS_TRANSACTION_END, 7, tx, "T\0"s}; break;
          default: break;
        }
        const auto reply = ask(socket, request);
        if (!reply) return;
        if (request.type == XS_TRANSACTION_START && reply->type == XS_TRANSACTION_START)
          tx = TransactionId(static_cast<std::uint32_t>(std::atoi(reply->payload.c_str())));
        if (request.type == XS_TRANSACTION_END) tx = no_tx;
      }
      (void)send_all(socket, Message{XS_WRITE, 7, no_tx, "/cut off"}.wire().substr(0, random() % 24));
    }
  }
  void guest() {
    std::mt19937 random(9);
    const ClientId client = store->add_client(DomId(1), {});
    (void)store->watch(client, "a", "mine");
    while (!over) {
      (void)store->write(client, no_tx, Path::parse("a", DomId(1)).value(), std::to_string(random()));
      while (store->next_event(client)) {
      }
      store->deliver();
    }
    store->remove_client(client);
  }
  void monitor() {
    while (!over) EXPECT_TRUE(store->read(home));
  }

  Listener listener;
  const Path home = *Path::parse("/local/domain/1", DomId(0));
  std::shared_ptr<Store> store = std::make_shared<Store>();
  std::atomic<bool> over{false};
};

TEST_F(StoreServerThreads, clients_guests_and_the_monitor_share_the_store) {
  std::optional<StoreServer> server(std::in_place, store, listener.fd());
  std::vector<std::thread> others;
  others.emplace_back([&] { guest(); });
  others.emplace_back([&] { monitor(); });
  std::vector<std::thread> hosts;
  for (unsigned seed = 1; seed <= 3; ++seed) hosts.emplace_back([this, seed] { host(seed); });
  for (std::thread& thread : hosts) thread.join();
  const vmm::Fd last = listener.connect();
  EXPECT_EQ(ask(last, {XS_READ, 7, no_tx, "/local/domain/1\0"s})->type, std::uint32_t{XS_READ});
  over = true;
  for (std::thread& thread : others) thread.join();
  server.reset();
  EXPECT_TRUE(store->check());
}

TEST_F(StoreServerThreads, the_server_ends_under_its_clients) {
  std::optional<StoreServer> server(std::in_place, store, listener.fd());
  std::vector<std::thread> threads;
  std::atomic<int> served{0};
  for (int n = 0; n < 3; ++n)
    threads.emplace_back([this, &served] {
      const vmm::Fd socket = listener.connect();
      for (int asked = 0; ask(socket, {XS_WRITE, 7, no_tx, "/local/domain/1/a\0x"s}); ++asked)
        if (asked == 30) ++served;
    });
  threads.emplace_back([&] { guest(); });
  while (served < 3) std::this_thread::yield();
  server.reset();
  over = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(store->check());
}

}  // namespace
}  // namespace pinfold::cli
