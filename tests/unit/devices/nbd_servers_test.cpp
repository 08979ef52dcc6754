// NBD servers that lie, or end.
#include <gtest/gtest.h>
#include <poll.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "devices/block/nbd_image.hpp"
#include "nbd_server.hpp"

namespace pinfold::devices::block::test {
namespace {

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

/// What is logged as long as this object exists.
class Logged {
 public:
  Logged() : before_(spdlog::default_logger()) {
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::ostream_sink_mt>(text_)));
  }
  Logged(const Logged&) = delete;
  Logged& operator=(const Logged&) = delete;
  ~Logged() { spdlog::set_default_logger(before_); }
  [[nodiscard]] std::string text() const { return text_.str(); }

 private:
  std::shared_ptr<spdlog::logger> before_;
  std::ostringstream text_;
};

/// What is logged when both connections of an idle image end.
std::string logged_of_an_end(bool is_told_elsewhere) {
  Logged logged;
  std::promise<void> end;
  Server server(
      [&, all = end.get_future().share()](Peer& peer) {
        if (peer.greet(mib, usual)) all.wait();
      },
      2);
  NbdImageOptions options;
  options.end_is_told = is_told_elsewhere;
  EXPECT_EQ(server.open(options), "");
  end.set_value();
  for (int n = 0; n < 2; ++n) {
    const auto queue = queue_of(*server.image);
    std::vector<pollfd> all;
    for (queue->add_descriptors(all); all.size() > 1; queue->add_descriptors(all)) {
      (void)::poll(all.data(), all.size(), 10'000);
      queue->collect([](const Completion&) {});
      all.clear();
    }
  }
  return logged.text();
}

TEST(NbdServers, that_end_are_told_once_though_nothing_is_on_its_way) {
  const std::string told = logged_of_an_end(false);
  const auto place = told.find("the connection to its server has ended");
  EXPECT_NE(place, std::string::npos) << told;
  EXPECT_EQ(told.find("has ended", place + 38), std::string::npos) << told;
  EXPECT_EQ(logged_of_an_end(true), "");
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
