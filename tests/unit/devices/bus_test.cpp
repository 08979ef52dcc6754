// Devices that come and go while the guest runs: every answer of a frontend to a detach, and none.
#include "devices/xenbus/bus.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "event_guest.hpp"

namespace pinfold::devices::xenbus {
namespace {

using namespace std::chrono_literals;
using xenstore::Path;
using xenstore::Store;

/// True as soon as the condition holds, which the bus's thread brings about.
template <class Condition>
bool soon(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + 10s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(100us);
  }
  return true;
}

/// A backend that the test follows while the bus's thread uses it, and after its end.
class CountedBackend final : public Backend {
 public:
  struct Life {
    std::atomic<bool> connected = false, lingers = false, over = false;
    std::atomic<bool> keeps_ports = false;  ///< The frontend, when it is Closed.
    std::atomic<int> raised = 0;            ///< Its ports, then.
  };
  explicit CountedBackend(std::shared_ptr<Life> life) : life_(std::move(life)) {}
  ~CountedBackend() override { life_->over = true; }
  [[nodiscard]] DeviceNodes backend_nodes() const override { return {{"mode", "w"}}; }
  [[nodiscard]] DeviceNodes frontend_nodes() const override { return {}; }
  void start() override {}
  [[nodiscard]] DeviceNodes features() const override { return {}; }
  [[nodiscard]] tl::expected<DeviceNodes, std::string> connect(const FrontendNodes&) override {
    life_->connected = true;
    return DeviceNodes{};
  }
  [[nodiscard]] bool see_off() override {
    ++life_->raised;
    return !life_->keeps_ports;
  }
  void disconnect() override {
    if (!life_->lingers) life_->connected = false;
  }
  [[nodiscard]] bool is_disconnected() override { return !life_->connected; }
  [[nodiscard]] std::optional<std::string> failure() override { return std::nullopt; }
  [[nodiscard]] DeviceCounts counts() const override { return {"vbd", {{"lives", 1}}}; }

 private:
  std::shared_ptr<Life> life_;
};
using Life = std::shared_ptr<CountedBackend::Life>;

constexpr std::uint32_t vdev = 51728;

struct Plugging : testing::Test {
  Plugging() { EXPECT_TRUE(bus.start(domain.lock.held, {})); }
  ~Plugging() override { bus.detach(); }
  [[nodiscard]] tl::expected<void, std::string> plug(const Life& life, std::uint32_t number = vdev) {
    return bus.plug({"vbd", DomId(1), number}, std::make_unique<CountedBackend>(life));
  }
  Life plugged() {
    auto life = std::make_shared<CountedBackend::Life>();
    EXPECT_TRUE(plug(life));
    return life;
  }
  Life connected() {
    auto life = plugged();
    set("3");
    EXPECT_TRUE(soon([&] { return back("state") == "4"; }));
    return life;
  }
  [[nodiscard]] std::string read(const std::string& path) {
    return store->read(*Path::parse(path, DomId(0))).value_or("(none)");
  }
  [[nodiscard]] std::string back(const std::string& name) {
    return read("/local/domain/0/backend/vbd/1/" + std::to_string(vdev) + "/" + name);
  }
  void set(const std::string& state) {
    ASSERT_TRUE(store->write(
        *Path::parse("/local/domain/1/device/vbd/" + std::to_string(vdev) + "/state", DomId(0)), state));
  }
  bool unplug(Departure how) { return bus.unplug("vbd", vdev, how); }
  bool goes() {
    return soon([&] { return !bus.has("vbd", vdev); });
  }
  void expect_nothing_left(const Life& life) {
    EXPECT_TRUE(life->over);
    EXPECT_EQ(back("state"), "(none)");
    EXPECT_EQ(read("/local/domain/1/device/vbd/51728/state"), "(none)");
    EXPECT_TRUE(bus.devices().empty());
    EXPECT_TRUE(bus.counts().empty());
  }

  std::shared_ptr<Store> store = std::make_shared<Store>();
  Guest domain{1};
  Bus bus{store};
};

TEST_F(Plugging, a_device_that_comes_later_is_offered_and_connects) {
  const auto life = connected();
  EXPECT_TRUE(life->connected);
  ASSERT_EQ(bus.devices().size(), 1u);
  EXPECT_EQ(bus.devices()[0].state, BusState::connected);
  EXPECT_EQ(bus.devices()[0].departure, Departure::none);
  EXPECT_EQ(bus.counts().size(), 1u);
}

TEST_F(Plugging, a_frontend_is_asked_to_close_and_served_until_it_does) {
  const auto life = connected();
  ASSERT_TRUE(unplug(Departure::asked));
  EXPECT_TRUE(soon([&] { return back("state") == "5" && back("online") == "0"; }));
  std::this_thread::sleep_for(10ms);
  EXPECT_TRUE(life->connected) << "it may still have something to write";
  set("5");
  EXPECT_TRUE(soon([&] { return !life->connected; }));
  std::this_thread::sleep_for(10ms);
  EXPECT_TRUE(bus.has("vbd", vdev)) << "a frontend that is Closing is not Closed";
  set("6");
  EXPECT_TRUE(goes());
  expect_nothing_left(life);
}

TEST_F(Plugging, a_frontend_that_is_closed_is_served_until_it_has_closed_its_ports) {
  const auto life = connected();
  life->keeps_ports = true;
  ASSERT_TRUE(unplug(Departure::asked));
  EXPECT_TRUE(soon([&] { return back("online") == "0"; }));
  EXPECT_EQ(life->raised, 0);
  set("6");
  EXPECT_TRUE(soon([&] { return back("state") == "(none)" && life->raised > 2; })) << "it is looked at again";
  EXPECT_TRUE(life->connected) << "it may have requests that it has not sent";
  EXPECT_TRUE(bus.has("vbd", vdev)) << "a new device of this name would be taken for the old one";
  life->keeps_ports = false;
  EXPECT_TRUE(goes());
  expect_nothing_left(life);
}

TEST_F(Plugging, a_frontend_that_keeps_its_ports_does_not_withstand_force) {
  const auto life = connected();
  life->keeps_ports = true;
  ASSERT_TRUE(unplug(Departure::asked));
  set("6");
  EXPECT_TRUE(soon([&] { return life->raised > 0; }));
  ASSERT_TRUE(unplug(Departure::forced));
  EXPECT_TRUE(goes());
  expect_nothing_left(life);
}

TEST_F(Plugging, a_frontend_that_never_connected_is_not_waited_for) {
  const auto life = plugged();
  ASSERT_TRUE(unplug(Departure::asked));
  EXPECT_TRUE(goes());
  expect_nothing_left(life);
}

TEST_F(Plugging, a_frontend_that_ignores_the_wish_keeps_its_device_until_it_is_forced) {
  const auto life = connected();
  ASSERT_TRUE(unplug(Departure::asked));
  for (const char* state : {"4", "7", "2", "3", "4"}) {
    set(state);
    std::this_thread::sleep_for(5ms);
    EXPECT_TRUE(bus.has("vbd", vdev)) << state;
  }
  EXPECT_EQ(bus.devices()[0].departure, Departure::asked);
  ASSERT_TRUE(unplug(Departure::forced));
  EXPECT_TRUE(goes());
  expect_nothing_left(life);
}

TEST_F(Plugging, a_frontend_that_begins_anew_while_the_device_leaves_is_not_connected_again) {
  const auto life = connected();
  ASSERT_TRUE(unplug(Departure::asked));
  set("1");
  EXPECT_TRUE(goes());
  expect_nothing_left(life);
}

TEST_F(Plugging, a_force_that_was_used_is_not_taken_back) {
  const auto life = connected();
  life->lingers = true;
  ASSERT_TRUE(unplug(Departure::forced));
  ASSERT_TRUE(unplug(Departure::asked));
  EXPECT_EQ(bus.devices()[0].departure, Departure::forced);
  life->lingers = false;
  bus.waker()->wake();
  EXPECT_TRUE(soon([&] { return back("state") != "4"; }));
  life->connected = false;
  bus.waker()->wake();
  EXPECT_TRUE(goes());
}

TEST_F(Plugging, what_is_on_its_way_ends_before_the_device_goes) {
  const auto life = connected();
  life->lingers = true;
  ASSERT_TRUE(unplug(Departure::forced));
  std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(life->over);
  EXPECT_TRUE(bus.has("vbd", vdev));
  life->connected = false;
  bus.waker()->wake();
  EXPECT_TRUE(goes());
  expect_nothing_left(life);
}

TEST_F(Plugging, a_name_is_a_devices_until_nothing_is_left_of_it) {
  const auto first = plugged(), second = std::make_shared<CountedBackend::Life>();
  EXPECT_FALSE(plug(second));
  EXPECT_TRUE(second->over) << "the refused one is not kept";
  EXPECT_EQ(back("state"), "2") << "and the other one has its nodes";
  ASSERT_TRUE(unplug(Departure::asked));
  ASSERT_TRUE(goes());
  const auto third = plugged();
  EXPECT_FALSE(third->over);
  EXPECT_EQ(back("state"), "2");
}

TEST_F(Plugging, a_device_that_is_not_there_cant_go) {
  EXPECT_FALSE(unplug(Departure::asked));
  EXPECT_FALSE(bus.unplug("vif", vdev, Departure::forced));
}

TEST_F(Plugging, nothing_comes_when_the_guest_is_about_to_end) {
  bus.quiesce();
  const auto life = std::make_shared<CountedBackend::Life>();
  EXPECT_FALSE(plug(life));
  EXPECT_TRUE(life->over);
  bus.detach();
  EXPECT_FALSE(plug(life));
  EXPECT_EQ(back("state"), "(none)");
}

TEST_F(Plugging, the_guests_end_takes_all_devices) {
  const auto life = connected();
  bus.quiesce();
  EXPECT_FALSE(life->connected);
  bus.detach();
  expect_nothing_left(life);
}

/// Some threads plug and unplug, and one plays a frontend that writes states at random.
TEST_F(Plugging, many_come_and_go_at_once) {
  std::atomic<bool> over = false;
  std::thread guest([&] {
    for (unsigned n = 0; !over; ++n)
      for (std::uint32_t number = 0; number < 4; ++number)
        (void)store->write(
            *Path::parse("/local/domain/1/device/vbd/" + std::to_string(number) + "/state", DomId(0)),
            std::to_string((n * 7 + number) % 9));
  });
  std::vector<std::thread> hosts;
  for (std::uint32_t host = 0; host < 2; ++host)
    hosts.emplace_back([&, host] {
      for (std::uint32_t round = 0; round < 200; ++round) {
        const std::uint32_t number = (round + host) % 4;
        (void)plug(std::make_shared<CountedBackend::Life>(), number);
        (void)bus.devices();
        (void)bus.counts();
        (void)bus.unplug("vbd", number, round % 2 == 0 ? Departure::forced : Departure::asked);
      }
    });
  for (auto& host : hosts) host.join();
  over = true;
  guest.join();
  for (std::uint32_t number = 0; number < 4; ++number) {
    (void)bus.unplug("vbd", number, Departure::forced);
    EXPECT_TRUE(soon([&] { return !bus.has("vbd", number); }));
  }
  EXPECT_TRUE(bus.devices().empty());
}

}  // namespace
}  // namespace pinfold::devices::xenbus
