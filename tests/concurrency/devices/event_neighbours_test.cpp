// Domains that send each other events, connect, close, reset and die, each in a thread of its own.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <random>
#include <thread>

#include "event_guest.hpp"

namespace pinfold::devices {
namespace {

constexpr std::uint16_t domains = 3;

/// Does whatever a guest can do to its ports and to its neighbours'.
void attack(Guest& guest, std::uint16_t self, std::mt19937& random, int steps) {
  const auto any = [&](std::uint32_t below) { return static_cast<std::uint32_t>(random() % below); };
  for (int i = 0; i < steps; ++i) {
    const auto other = static_cast<std::uint16_t>(1 + any(domains));
    const std::uint32_t port = any(12);
    evtchn_alloc_unbound listen{DOMID_SELF, other, 0};
    evtchn_bind_interdomain bind{other, port, 0};
    evtchn_reset reset{DOMID_SELF};
    evtchn_unmask unmask{port};
    switch (any(16)) {
      case 0:
      case 1: (void)guest.call(EVTCHNOP_alloc_unbound, listen); break;
      case 2:
      case 3:
      case 4:
      case 5: (void)guest.call(EVTCHNOP_bind_interdomain, bind); break;
      case 6: (void)guest.port_op(EVTCHNOP_close, port); break;
      case 7: (void)guest.call(EVTCHNOP_unmask, unmask); break;
      case 8:
        if (any(20) == 0) (void)guest.call(EVTCHNOP_reset, reset);
        break;
      default: (void)guest.port_op(EVTCHNOP_send, port); break;
    }
    evtchn_status_t status{};
    status.dom = self;
    status.port = port;
    EXPECT_EQ(guest.call(EVTCHNOP_status, status), 0);
  }
}

TEST(EventNeighbours, come_and_go_while_others_send_to_them) {
  auto network = std::make_shared<EventSwitch>();
  std::array<std::thread, domains> threads;
  for (std::uint16_t id = 1; id <= domains; ++id) {
    threads[id - 1U] = std::thread([id, &network] {
      std::mt19937 random(id);
      for (int life = 0; life < 60; ++life) {
        // A domain's target ends soon after its ports, as a Domain does after its devices.
        auto guest = std::make_unique<Guest>(id, network);
        attack(*guest, id, random, 300);
        guest->channels.detach();
        guest->target.ended = true;
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(EventNeighbours, no_vcpu_is_woken_after_its_domain_has_left) {
  auto network = std::make_shared<EventSwitch>();
  Guest sender(1, network);
  std::atomic<bool> stop = false;
  std::atomic<std::uint32_t> port{0};
  std::thread sends([&] {
    while (!stop) {
      evtchn_bind_interdomain bind{2, 1, 0};
      if (sender.call(EVTCHNOP_bind_interdomain, bind) != 0) continue;
      for (int i = 0; i < 50; ++i) (void)sender.port_op(EVTCHNOP_send, bind.local_port);
      (void)sender.port_op(EVTCHNOP_close, bind.local_port);
    }
  });
  for (int life = 0; life < 500; ++life) {
    Guest guest(2, network);
    ASSERT_EQ(guest.listen(1), 1u);
    std::this_thread::yield();
    guest.channels.detach();
    guest.target.ended = true;
  }
  stop = true;
  sends.join();
}

}  // namespace
}  // namespace pinfold::devices
