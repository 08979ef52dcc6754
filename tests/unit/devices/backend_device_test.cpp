// The states of a backend: what it does for each state of a frontend, in every order.
#include "devices/xenbus/backend_device.hpp"

#include <gtest/gtest.h>

#include <random>

#include "fake_backend.hpp"
#include "first_sight.hpp"

namespace pinfold::devices::xenbus {
namespace {

using xenstore::Path;
using xenstore::Store;

constexpr const char* front = "/local/domain/1/device/vbd/51712/";
constexpr const char* back = "/local/domain/0/backend/vbd/1/51712/";

struct States : testing::Test {
  States() { EXPECT_TRUE(device.publish()); }
  [[nodiscard]] std::string read(const std::string& path) {
    return store->read(*Path::parse(path, DomId(0))).value_or("(none)");
  }
  void write(const std::string& path, const std::string& value) {
    ASSERT_TRUE(store->write(*Path::parse(path, DomId(0)), value));
  }
  /// The backend's state after the frontend's became this.
  std::string after(const std::string& state) {
    write(front + std::string("state"), state);
    device.look();
    return read(back + std::string("state"));
  }
  [[nodiscard]] std::string error() { return read("/local/domain/0/error/backend/vbd/1/51712/error"); }

  std::shared_ptr<Store> store = std::make_shared<Store>();
  FakeBackend::Script script;
  BackendDevice device{*store, {"vbd", DomId(1), 51712}, std::make_unique<FakeBackend>(script)};
};

TEST_F(States, a_device_is_offered_with_the_nodes_of_a_toolstack) {
  EXPECT_TRUE(script.started);
  EXPECT_EQ(read(back + std::string("state")), "2");
  EXPECT_EQ(read(back + std::string("feature-x")), "1");
  EXPECT_EQ(read(back + std::string("frontend")) + "/", front);
  EXPECT_EQ(read(back + std::string("frontend-id")), "1");
  EXPECT_EQ(read(front + std::string("state")), "1");
  EXPECT_EQ(read(front + std::string("backend")) + "/", back);
  EXPECT_EQ(read(front + std::string("virtual-device")), "51712");
}

TEST_F(States, each_end_owns_its_folder_and_the_other_may_read_it) {
  const auto guest = store->add_client(DomId(1), {});
  const xenstore::TransactionId none{0};
  const auto path = [](const std::string& text) { return *Path::parse(text, DomId(1)); };
  EXPECT_TRUE(store->read(guest, none, path(back + std::string("mode"))));
  EXPECT_FALSE(store->write(guest, none, path(back + std::string("mode")), "r"));
  EXPECT_TRUE(store->write(guest, none, path(front + std::string("ring-ref")), "8"));
  EXPECT_FALSE(store->write(guest, none, path("/local/domain/1/device/vbd/7"), ""));
  EXPECT_TRUE(store->directory(guest, none, path("/local/domain/1/device/vbd")));
}

TEST_F(States, a_guest_that_finds_a_state_finds_all_nodes) {
  Store other;
  BackendDevice late(other, {"vbd", DomId(1), 51712}, std::make_unique<FakeBackend>(script));
  const auto first_sight = std::make_shared<FirstSight>(other, front, "virtual-device");
  const auto guest = other.add_client(DomId(1), first_sight);
  ASSERT_TRUE(other.watch(guest, "/local/domain/1/device", "token"));
  ASSERT_TRUE(late.publish());
  EXPECT_EQ(first_sight->found, "51712");
}

TEST_F(States, a_frontend_connects_and_closes) {
  EXPECT_EQ(after("3"), "4");
  EXPECT_EQ(read(back + std::string("sectors")), "8");
  EXPECT_EQ(after("4"), "4");
  EXPECT_EQ(script.connects, 1) << "a frontend that is connected is connected once";
  EXPECT_EQ(after("5"), "5");
  EXPECT_FALSE(script.connected);
  EXPECT_EQ(after("6"), "6");
  EXPECT_EQ(after("1"), "2") << "ready for the next one";
  EXPECT_EQ(after("3"), "4");
}

TEST_F(States, the_nodes_go_when_the_backend_raises_no_more_events) {
  EXPECT_EQ(after("3"), "4");
  script.hushed = false;
  device.depart(Departure::asked);
  write(front + std::string("state"), "6");
  const auto now = BackendDevice::Clock::now();
  device.look(now);
  EXPECT_EQ(read(front + std::string("state")), "6") << "a frontend that finds no nodes takes no more events";
  EXPECT_EQ(device.next_look(now), now + BackendDevice::between_looks);
  script.hushed = true;
  device.look(now);
  EXPECT_EQ(read(front + std::string("state")), "(none)");
  EXPECT_TRUE(device.is_gone());
}

TEST_F(States, a_frontend_that_keeps_its_ports_is_waited_for_only_so_long) {
  EXPECT_EQ(after("3"), "4");
  script.keeps_ports = true;
  device.depart(Departure::asked);
  EXPECT_EQ(after("4"), "5");
  write(front + std::string("state"), "6");
  const auto now = BackendDevice::Clock::now();
  device.look(now);
  EXPECT_EQ(read(back + std::string("state")), "(none)");
  EXPECT_EQ(read(front + std::string("state")), "(none)");
  device.look(now + BackendDevice::patience - std::chrono::milliseconds(1));
  EXPECT_EQ(device.next_look(now), now + BackendDevice::between_looks);
  EXPECT_TRUE(script.connected);
  device.look(now + BackendDevice::patience);
  EXPECT_TRUE(device.is_gone());
  EXPECT_FALSE(device.next_look(now));
  EXPECT_FALSE(script.connected);
  EXPECT_EQ(read(back + std::string("state")), "(none)") << "the nodes do not come again";
}

TEST_F(States, news_that_come_without_end_are_told_at_a_bounded_rate_and_the_last_ones_always) {
  EXPECT_EQ(after("3"), "4");
  const auto watcher = store->add_client(DomId(0), {});
  EXPECT_TRUE(store->watch(watcher, back + std::string("state"), "t"));
  const auto events = [&] {
    int count = 0;
    while (store->next_event(watcher)) ++count;
    return count;
  };
  EXPECT_EQ(events(), 1) << "that of the watch itself";
  auto now = BackendDevice::Clock::now();
  EXPECT_FALSE(device.next_look(now));
  const auto begin = now;
  for (; now < begin + std::chrono::seconds(1); now += std::chrono::milliseconds(1)) {
    ++script.news;
    device.look(now);
    ASSERT_EQ(events(), (now - begin) % BackendDevice::between_news == now - now ? 1 : 0);
  }
  EXPECT_NE(read(back + std::string("news")), std::to_string(script.news));
  const auto next = device.next_look(now);
  ASSERT_TRUE(next);
  EXPECT_LE(*next, now + BackendDevice::between_news);
  device.look(*next);
  EXPECT_EQ(read(back + std::string("news")), std::to_string(script.news));
  device.look(*next + BackendDevice::between_news);
  EXPECT_FALSE(device.next_look(now)) << "nothing is left to be told";
  ++script.news;
  device.look(*next + BackendDevice::between_news);
  EXPECT_EQ(read(back + std::string("news")), std::to_string(script.news)) << "after a pause, at once";
}

TEST_F(States, a_device_that_is_shut_or_not_connected_has_no_news) {
  EXPECT_EQ(after("3"), "4");
  ++script.news;
  const auto now = BackendDevice::Clock::now();
  device.look(now);
  EXPECT_TRUE(device.next_look(now));
  EXPECT_EQ(after("5"), "5");
  EXPECT_FALSE(device.next_look(now));
  EXPECT_EQ(after("6"), "6");
  EXPECT_EQ(after("1"), "2");
  EXPECT_EQ(after("3"), "4");
  device.shut();
  EXPECT_FALSE(device.next_look(now)) << "nobody would look";
}

TEST_F(States, a_frontend_that_dies_in_any_state_leaves_the_backend_ready) {
  for (const char* died_in : {"1", "2", "3", "4", "5", "6", "7", "8", "0", "x", "", "33"}) {
    if (*died_in != '1') {
      ASSERT_EQ(after("3"), "4") << died_in;
    }
    after(died_in);
    EXPECT_EQ(after("1"), "2") << "died in " << died_in;
    EXPECT_EQ(after("3"), "4") << "died in " << died_in;
    EXPECT_EQ(after("1"), "2");
  }
}

TEST_F(States, a_connection_ends_before_the_device_is_offered_again) {
  ASSERT_EQ(after("3"), "4");
  script.lingers = true;
  EXPECT_EQ(after("1"), "4") << "transfers are on their way";
  EXPECT_EQ(after("6"), "5");
  EXPECT_EQ(after("1"), "5");
  script.connected = false;  // and the backend wakes the bus
  device.look();
  EXPECT_EQ(read(back + std::string("state")), "2");
}

TEST_F(States, closing_waits_for_the_frontend_and_then_for_transfers) {
  ASSERT_EQ(after("3"), "4");
  script.lingers = true;
  EXPECT_EQ(after("5"), "5");
  script.connected = false;
  device.look();
  EXPECT_EQ(read(back + std::string("state")), "5") << "the frontend waits for Closed only when it is Closed";
  EXPECT_EQ(after("6"), "6");
}

TEST_F(States, a_frontend_that_does_not_begin_again_is_not_connected_again) {
  ASSERT_EQ(after("3"), "4");
  ASSERT_EQ(after("6"), "6");
  EXPECT_EQ(after("3"), "6");
  EXPECT_EQ(after("4"), "6");
  EXPECT_EQ(script.connects, 1);
}

TEST_F(States, a_frontend_without_a_state_has_none) {
  ASSERT_EQ(after("3"), "4");
  ASSERT_TRUE(store->remove(*Path::parse("/local/domain/1/device/vbd/51712", DomId(0))));
  device.look();
  EXPECT_EQ(read(back + std::string("state")), "6");
  EXPECT_FALSE(script.connected);
}

TEST_F(States, a_refused_frontend_is_told_why_and_may_try_again) {
  script.refusal = "no event-channel";
  EXPECT_EQ(after("3"), "5");
  EXPECT_EQ(error(), "no event-channel");
  device.look();
  EXPECT_EQ(script.connects, 1) << "not again until the frontend begins again";
  EXPECT_EQ(after("6"), "6");
  script.refusal.clear();
  EXPECT_EQ(after("1"), "2");
  EXPECT_EQ(error(), "(none)");
  EXPECT_EQ(after("3"), "4");
}

TEST_F(States, a_connection_that_fails_closes_with_its_reason) {
  ASSERT_EQ(after("3"), "4");
  script.failure = "the ring is broken";
  device.look();
  EXPECT_EQ(read(back + std::string("state")), "5");
  EXPECT_EQ(error(), "the ring is broken");
  EXPECT_FALSE(script.connected);
}

TEST_F(States, a_state_that_frontends_dont_have_is_a_failure) {
  EXPECT_EQ(after("7"), "5");
  EXPECT_NE(error(), "(none)");
}

TEST_F(States, no_order_of_states_leaves_a_connection_behind_or_the_device_useless) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    script.lingers = random() % 4 == 0;
    script.refusal = random() % 4 == 0 ? "no" : "";
    const std::string state = after(std::to_string(random() % 10));
    EXPECT_EQ(state == "4", device.state() == BusState::connected);
    if (state == "2" || state == "6") {
      EXPECT_FALSE(script.connected);
    }
    if (random() % 8 == 0) {
      script = {true, false, false, 0, "", std::nullopt};
      ASSERT_EQ(after("1"), "2");
      ASSERT_EQ(after("3"), "4");
    }
  }
}

TEST_F(States, its_nodes_go_with_it) {
  script.refusal = "no";
  after("3");
  device.remove_nodes();
  for (const std::string& path : {std::string(front), std::string(back)})
    EXPECT_EQ(read(path + "state"), "(none)");
  EXPECT_EQ(error(), "(none)");
}

TEST(BusStates, only_a_digit_is_a_state) {
  EXPECT_EQ(parse_state("4"), BusState::connected);
  for (const char* text : {"", "9", "-1", "44", "4 ", " 4", "x", "04"})
    EXPECT_EQ(parse_state(text), BusState::unknown) << text;
}

TEST(FrontendNumbers, are_decimal_and_fit) {
  Store store;
  const FrontendNodes nodes(store, *Path::parse("/f", DomId(0)));
  const auto number = [&](const char* text) {
    EXPECT_TRUE(store.write(*Path::parse("/f/n", DomId(0)), text));
    return nodes.number("n");
  };
  EXPECT_EQ(number("51712").value(), 51712u);
  EXPECT_EQ(number("4294967295").value(), 0xffffffffu);
  for (const char* bad : {"", "4294967296", "-1", "+1", " 1", "1 ", "0x10", "1.0", "a"})
    EXPECT_FALSE(number(bad)) << bad;
  EXPECT_EQ(nodes.number("missing").value(), std::nullopt);
  EXPECT_EQ(nodes.required_number("missing").error(), "the frontend has no missing");
}

}  // namespace
}  // namespace pinfold::devices::xenbus
