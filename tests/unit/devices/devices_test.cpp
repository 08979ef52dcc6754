// Devices through the steps of their lives: what each does at which, and that nothing of the guest's is kept.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "devices/console_device.hpp"
#include "devices/console_io.hpp"
#include "devices/grant_table.hpp"
#include "devices/xenstore/store_device.hpp"
#include "event_guest.hpp"

namespace pinfold::devices {
namespace {

using xenstore::DomainNodes;
using xenstore::Path;
using xenstore::Store;
using xenstore::StoreDevice;

constexpr std::uint64_t console_ring = 11, store_ring = 12, no_data_frame = FakeTarget::frame_count;

/// The devices of one guest, with a store that another guest may share.
struct Devices {
  explicit Devices(std::uint16_t id, std::shared_ptr<Store> in = std::make_shared<Store>(),
                   std::string uuid = {})
      : domain(id),
        store(std::move(in)),
        store_device(store, domain.channels, domain.target, nodes(id, std::move(uuid))) {
    domain.channels.attach(hypercalls, rings);
    store_device.attach(hypercalls, rings);
    console.attach(hypercalls, rings);
    rings.console.frame = Mfn(console_ring);
    rings.store.frame = Mfn(store_ring);
  }
  static DomainNodes nodes(std::uint16_t id, std::string uuid) {
    DomainNodes nodes;
    nodes.domain = DomId(id);
    nodes.name = "guest" + std::to_string(id);
    nodes.uuid = uuid.empty() ? "uuid" + std::to_string(id) : std::move(uuid);
    return nodes;
  }
  void start() {
    ASSERT_TRUE(store_device.start(domain.lock.held, rings));
    ASSERT_TRUE(console.start(domain.lock.held, rings));
  }
  void detach() {
    console.detach();
    store_device.detach();
    domain.channels.detach();
  }
  [[nodiscard]] std::size_t users_of(std::uint64_t frame) const {
    return domain.target.frames[frame].users();
  }
  [[nodiscard]] bool has_node(const std::string& path) const {
    return store->read(*Path::parse(path, DomId(0))).has_value();
  }

  Guest domain;
  vmm::HypercallTable hypercalls;
  BootRings rings;
  std::shared_ptr<Store> store;
  StoreDevice store_device;
  std::string printed;
  ConsoleDevice console{domain.channels, domain.target, [this](auto bytes) {
                          printed += to_text(bytes);
                          return bytes.size();
                        }};
};

TEST(DeviceLife, attached_devices_have_ports_and_hold_nothing) {
  const Devices d(1);
  EXPECT_NE(d.rings.store.port, Port(0));
  EXPECT_NE(d.rings.console.port, Port(0));
  EXPECT_NE(d.rings.store.port, d.rings.console.port);
  EXPECT_EQ(d.domain.target.frames_held(), 0u);
  EXPECT_FALSE(d.has_node("/local/domain/1/name"));
}

TEST(DeviceLife, a_guests_events_before_the_start_are_harmless) {
  Devices d(1);
  EXPECT_EQ(d.domain.port_op(EVTCHNOP_send, d.rings.console.port.raw()), 0);
  EXPECT_EQ(d.domain.port_op(EVTCHNOP_send, d.rings.store.port.raw()), 0);
}

TEST(DeviceLife, started_devices_hold_their_rings_and_serve_them) {
  Devices d(1);
  d.start();
  EXPECT_GT(d.users_of(console_ring), 0u);
  EXPECT_GT(d.users_of(store_ring), 0u);
  EXPECT_EQ(d.store->read(*Path::parse("/local/domain/1/console/port", DomId(0))).value(),
            std::to_string(d.rings.console.port.raw()));
  const std::string typed = "x";
  EXPECT_EQ(d.console.write_input(as_bytes(typed)), 1u);
  EXPECT_TRUE(d.domain.target.pending(d.rings.console.port.raw())) << "the guest is notified";
}

TEST(DeviceLife, a_ring_that_cant_be_held_is_an_error_that_names_it) {
  Devices d(1);
  d.rings.console.frame = d.rings.store.frame = Mfn(no_data_frame);
  EXPECT_NE(d.console.start(d.domain.lock.held, d.rings).error().find("console"), std::string::npos);
  EXPECT_NE(d.store_device.start(d.domain.lock.held, d.rings).error().find("xenstore"), std::string::npos);
  d.detach();
  EXPECT_EQ(d.domain.target.frames_held(), 0u);
}

TEST(DeviceLife, what_the_guest_printed_last_is_passed_on_when_the_console_is_quiesced) {
  Devices d(1);
  d.start();
  auto ring = d.domain.target.frames[console_ring].shared();
  constexpr std::size_t out = 1024, out_prod = 3084;
  ring.store(out, 'z');
  ring.store<std::uint32_t>(out_prod, 1);
  EXPECT_EQ(d.printed, "");
  d.console.quiesce();
  EXPECT_EQ(d.printed, "z");
}

TEST(DeviceLife, detached_devices_hold_nothing_and_notices_are_dropped) {
  Devices d(1);
  d.start();
  for (std::uint32_t vcpu = 0; vcpu < 2; ++vcpu) {
    evtchn_init_control args{100 + vcpu, 0, vcpu, 0, {}};
    ASSERT_EQ(d.domain.call(EVTCHNOP_init_control, args), 0);
  }
  EXPECT_GT(d.domain.target.info.users(), 0u);
  d.detach();
  EXPECT_EQ(d.domain.target.frames_held(), 0u);
  EXPECT_EQ(d.domain.target.info.users(), 0u);
  d.domain.channels.notify_guest(d.rings.console.port);
  d.domain.channels.raise_virq(VcpuId(0), VIRQ_TIMER);
  EXPECT_FALSE(d.domain.channels.is_pending(d.rings.console.port));
}

TEST(DeviceLife, peers_of_detached_event_channels_find_their_ends_unbound) {
  const auto network = std::make_shared<EventSwitch>();
  Guest one(1, network);
  Guest two(2, network);
  const std::uint32_t waiting = one.listen(2);
  evtchn_bind_interdomain args{1, waiting, 0};
  ASSERT_EQ(two.call(EVTCHNOP_bind_interdomain, args), 0);
  one.channels.detach();
  EXPECT_EQ(two.status(args.local_port).status, std::uint32_t{EVTCHNSTAT_unbound});
  EXPECT_EQ(two.port_op(EVTCHNOP_send, args.local_port), 0);
}

TEST(DeviceLife, guests_share_a_store_and_each_takes_its_own_nodes_with_it) {
  const auto store = std::make_shared<Store>();
  Devices one(1, store);
  Devices two(2, store);
  one.start();
  two.start();
  EXPECT_TRUE(store->is_introduced(DomId(1)));
  EXPECT_TRUE(one.has_node("/local/domain/1/name") && one.has_node("/vm/uuid1/name"));
  one.detach();
  EXPECT_FALSE(store->is_introduced(DomId(1)));
  EXPECT_FALSE(two.has_node("/local/domain/1") || two.has_node("/vm/uuid1"));
  EXPECT_TRUE(two.has_node("/local/domain/2/name") && two.has_node("/vm/uuid2/name"));
}

TEST(DeviceLife, a_second_guest_with_the_same_uuid_does_not_start_and_takes_nothing_with_it) {
  const auto store = std::make_shared<Store>();
  Devices one(1, store);
  one.start();
  Devices other(2, store, "uuid1");
  EXPECT_FALSE(other.store_device.start(other.domain.lock.held, other.rings));
  other.detach();
  EXPECT_FALSE(one.has_node("/local/domain/2"));
  EXPECT_TRUE(one.has_node("/local/domain/1/name") && one.has_node("/vm/uuid1/name"));
}

}  // namespace
}  // namespace pinfold::devices
