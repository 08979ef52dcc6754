// A device between two domains: what the toolstack writes, when it removes it, and what the domains can do to
// that.
#include "devices/xenbus/driver_domain_device.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "first_sight.hpp"

namespace pinfold::devices::xenbus {
namespace {

using namespace std::chrono_literals;
using xenstore::Path;
using xenstore::Store;

const std::string front = "/local/domain/2/device/vbd/51712", back = "/local/domain/1/backend/vbd/2/51712";
constexpr xenstore::TransactionId none{0};

struct DriverDomain : testing::Test {
  DriverDomain() {
    for (const DomId domain : {DomId(1), DomId(2)}) {
      store.introduce(domain);
      const auto home = xenstore::Permissions({{DomId(0)}, {domain, true, false}});
      EXPECT_TRUE(store.write(Path::of_domain(domain), "", home));
      EXPECT_TRUE(store.write(Path::of_domain(domain).child("device"), "", home));
    }
    driver = store.add_client(DomId(1), {});
    guest = store.add_client(DomId(2), {});
    EXPECT_TRUE(device.publish());
  }
  [[nodiscard]] static Path path(const std::string& text) { return *Path::parse(text, DomId(0)); }
  [[nodiscard]] std::string read(const std::string& text) {
    return store.read(path(text)).value_or("(none)");
  }
  /// As one of the domains.
  void write(xenstore::ClientId who, const std::string& folder, const std::string& state) {
    ASSERT_TRUE(store.write(who, none, path(folder + "/state"), state));
    device.look(now);
  }
  void connect() {
    write(driver, back, "2");
    write(guest, front, "3");
    write(driver, back, "4");
    write(guest, front, "4");
  }
  void end_driver_domain() {
    store.remove_client(driver);
    store.release(DomId(1));
    (void)store.remove(Path::of_domain(DomId(1)));
    device.look(now);
  }

  Store store;
  xenstore::ClientId driver, guest;
  BusDevice::Clock::time_point now = BusDevice::Clock::now();
  DriverDomainDevice device{store,
                            {"vbd", DomId(2), 51712, DomId(1)},
                            "disk xvda",
                            {{{"params", "/dev/vda"}}, {{"device-type", "disk"}}}};
};

TEST_F(DriverDomain, both_find_the_nodes_of_a_toolstack) {
  EXPECT_EQ(read(back + "/frontend"), front);
  EXPECT_EQ(read(back + "/frontend-id"), "2");
  EXPECT_EQ(read(back + "/online"), "1");
  EXPECT_EQ(read(back + "/state"), "1");
  EXPECT_EQ(read(back + "/params"), "/dev/vda");
  EXPECT_EQ(read(front + "/backend"), back);
  EXPECT_EQ(read(front + "/backend-id"), "1");
  EXPECT_EQ(read(front + "/state"), "1");
  EXPECT_EQ(read(front + "/device-type"), "disk");
}

TEST_F(DriverDomain, one_that_finds_a_state_finds_all_nodes) {
  device.remove_nodes();
  const auto of_back = std::make_shared<FirstSight>(store, back + "/", "params"),
             of_front = std::make_shared<FirstSight>(store, front + "/", "device-type");
  const auto driver_sees = store.add_client(DomId(1), of_back),
             guest_sees = store.add_client(DomId(2), of_front);
  ASSERT_TRUE(store.watch(driver_sees, "/local/domain/1/backend", "token"));
  ASSERT_TRUE(store.watch(guest_sees, "/local/domain/2/device", "token"));
  ASSERT_TRUE(device.publish());
  EXPECT_EQ(of_back->found, "/dev/vda");
  EXPECT_EQ(of_front->found, "disk");
}

TEST_F(DriverDomain, each_owns_its_folder_and_only_the_other_may_read_it) {
  const auto third = store.add_client(DomId(3), {});
  for (const auto& [owner, reader, folder] :
       {std::tuple(driver, guest, back), std::tuple(guest, driver, front)}) {
    EXPECT_TRUE(store.write(owner, none, path(folder + "/more"), "1"));
    EXPECT_TRUE(store.read(reader, none, path(folder + "/more")));
    EXPECT_FALSE(store.write(reader, none, path(folder + "/more"), "2"));
    EXPECT_FALSE(store.read(third, none, path(folder + "/state")));
  }
  EXPECT_FALSE(store.write(driver, none, path("/local/domain/1/backend/vbd/2/7"), ""))
      << "it makes itself no device";
}

TEST_F(DriverDomain, what_the_driver_domain_wrote_before_is_no_part_of_the_device) {
  ASSERT_TRUE(store.write(driver, none, path(back + "/physical-device"), "fe:0"));
  ASSERT_TRUE(device.publish());
  EXPECT_EQ(read(back + "/physical-device"), "(none)");
}

TEST_F(DriverDomain, a_device_goes_when_both_have_let_go_of_it) {
  connect();
  EXPECT_EQ(device.state(), BusState::connected);
  device.depart(Departure::asked);
  device.look(now);
  EXPECT_EQ(read(back + "/online"), "0");
  EXPECT_EQ(read(back + "/state"), "5");
  write(guest, front, "5");
  EXPECT_NE(read(front), "(none)") << "the frontend is not Closed yet";
  write(guest, front, "6");
  EXPECT_EQ(read(front), "(none)");
  EXPECT_FALSE(device.is_gone()) << "the backend may have grants of it mapped";
  EXPECT_EQ(device.next_look(now), now + DriverDomainDevice::patience);
  write(driver, back, "6");
  EXPECT_TRUE(device.is_gone());
  EXPECT_EQ(read(back), "(none)");
  EXPECT_EQ(read("/local/domain/1/backend/vbd/2"), "") << "parents of a domain that is there stay";
}

TEST_F(DriverDomain, a_frontend_that_holds_on_is_waited_for_and_one_that_is_forced_is_not) {
  connect();
  device.depart(Departure::asked);
  device.look(now + 1h);
  EXPECT_FALSE(device.is_gone());
  device.depart(Departure::forced);
  device.look(now);
  EXPECT_EQ(read(front), "(none)");
  write(driver, back, "6");
  EXPECT_TRUE(device.is_gone());
}

TEST_F(DriverDomain, a_backend_that_never_lets_go_delays_the_end_by_its_time_only) {
  connect();
  device.shut();
  device.look(now);
  for (const char* lie : {"4", "2", "1", "7", "5"}) write(driver, back, lie);
  device.look(now + DriverDomainDevice::patience - 1ms);
  EXPECT_FALSE(device.is_gone());
  device.look(now + DriverDomainDevice::patience);
  EXPECT_TRUE(device.is_gone());
  EXPECT_EQ(read(back), "(none)");
}

TEST_F(DriverDomain, a_backend_that_removes_its_nodes_has_let_go) {
  connect();
  device.shut();
  device.look(now);
  ASSERT_TRUE(store.remove(driver, none, path(back)));
  EXPECT_TRUE(device.is_disconnected());
}

TEST_F(DriverDomain, a_device_that_no_driver_has_taken_goes_at_once) {
  device.shut();
  EXPECT_TRUE(device.is_disconnected());
}

TEST_F(DriverDomain, a_backend_whose_domain_has_ended_is_closed) {
  connect();
  end_driver_domain();
  EXPECT_EQ(read(back + "/state"), "6");
  EXPECT_EQ(read(back + "/online"), "0");
  EXPECT_TRUE(store.read(guest, none, path(back + "/state")));
  EXPECT_EQ(read(front + "/backend"), back) << "the frontend keeps its device";
  (void)store.remove(Path::of_domain(DomId(1)));
  device.look(now);
  EXPECT_EQ(read(back + "/state"), "6") << "also if the rest of the domain goes afterwards";
  store.introduce(DomId(1));
  device.look(now);
  EXPECT_EQ(device.state(), BusState::closed) << "another domain is not its backend";
  store.release(DomId(1));
  device.depart(Departure::asked);
  device.look(now);
  EXPECT_TRUE(device.is_gone());
  EXPECT_EQ(read("/local/domain/1"), "(none)") << "nothing is left";
  EXPECT_EQ(read(front), "(none)");
}

TEST_F(DriverDomain, a_guest_has_its_devices_until_it_ends) {
  connect();
  device.shut();
  device.look(now);
  EXPECT_EQ(device.departure(), Departure::none) << "nobody asked for it";
  EXPECT_EQ(read(front), "(none)");
  write(driver, back, "6");
  EXPECT_TRUE(device.is_gone());
}

TEST_F(DriverDomain, the_end_of_the_guest_does_not_wait_for_a_domain_that_has_ended) {
  connect();
  end_driver_domain();
  device.shut();
  EXPECT_TRUE(device.is_disconnected());
  EXPECT_EQ(read("/local/domain/1"), "(none)");
}

TEST_F(DriverDomain, where_a_frontend_says_that_its_backend_is_does_not_matter) {
  connect();
  const std::string other = "/local/domain/0/backend/vbd/2/51712";
  ASSERT_TRUE(store.write(path(other), "another's"));
  for (const auto& [node, value] : {std::pair("/backend", other), std::pair("/backend-id", std::string("0"))})
    ASSERT_TRUE(store.write(guest, none, path(front + node), value));
  device.shut();
  device.look(now);
  EXPECT_EQ(read(back + "/state"), "5");
  write(driver, back, "6");
  EXPECT_TRUE(device.is_gone());
  EXPECT_EQ(read(other), "another's");
}

/// The two and the toolstack at random; what the two write is possible or not.
struct Chaos : DriverDomain {
  void TestBody() override {}
  [[nodiscard]] std::size_t any(std::size_t below) {
    return std::uniform_int_distribution<std::size_t>(0, below - 1)(random);
  }
  void step() {
    static const std::string values[] = {"", "0", "1", "2", "3", "4", "5", "6", "7", "8", "44", "-1", front};
    static const std::string nodes[] = {"/state", "/state", "/state", "/online", "/backend", "/state/state"};
    const bool by_driver = any(2) == 0;
    if (by_driver && has_ended) return;
    const xenstore::ClientId who = by_driver ? driver : guest;
    const std::string folder = by_driver ? back : front;
    switch (any(12)) {
      case 0: (void)store.remove(who, none, path(folder)); break;
      case 1: (void)store.remove(who, none, path(folder + "/state")); break;
      case 2:
        (void)store.set_permissions(who, none, path(folder + "/state"),
                                    xenstore::Permissions(DomId(by_driver ? 1 : 2)));
        break;
      case 3: device.depart(Departure::asked); break;
      case 4:
        if (any(8) == 0) {
          end_driver_domain();
          has_ended = true;
        }
        break;
      default: (void)store.write(who, none, path(folder + nodes[any(6)]), values[any(13)]);
    }
    device.look(now += std::chrono::milliseconds(any(20)));
  }
  std::mt19937 random;
  bool has_ended = false;
};

TEST(DriverDomainChaos, a_device_goes_in_its_time_whatever_the_two_write) {
  for (unsigned seed = 0; seed < 500; ++seed) {
    Chaos chaos;
    chaos.random.seed(seed);
    for (std::size_t left = chaos.any(60); left != 0; --left) chaos.step();
    if (chaos.any(2) == 0)
      chaos.device.shut();
    else
      chaos.device.depart(Departure::forced);
    chaos.device.look(chaos.now);
    EXPECT_TRUE(chaos.device.is_gone() || chaos.device.next_look(chaos.now)) << seed;
    for (int i = 0; i < 10; ++i)
      if (!chaos.device.is_gone()) chaos.step();
    chaos.device.look(chaos.now + DriverDomainDevice::patience);
    EXPECT_TRUE(chaos.device.is_gone()) << seed;
    EXPECT_EQ(chaos.read(front), "(none)") << seed;
    EXPECT_EQ(chaos.read(back), "(none)") << seed;
  }
}

TEST_F(DriverDomain, the_devices_of_a_domain_that_ended_go_one_by_one) {
  DriverDomainDevice second{store, {"vbd", DomId(2), 51728, DomId(1)}, "disk xvdb", {}};
  ASSERT_TRUE(second.publish());
  connect();
  end_driver_domain();
  second.look(now);
  device.depart(Departure::forced);
  device.look(now);
  EXPECT_TRUE(device.is_gone());
  EXPECT_EQ(read("/local/domain/1/backend/vbd/2/51728/state"), "6");
}

}  // namespace
}  // namespace pinfold::devices::xenbus
