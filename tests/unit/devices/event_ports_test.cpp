// Which port number is opened next, and how much is looked at to find it.
#include <gtest/gtest.h>

#include "devices/event_fifo.hpp"
#include "devices/event_ports.hpp"

namespace pinfold::devices {
namespace {

constexpr VcpuId vcpu0{0};

std::uint32_t opened(PortTable& table, const std::function<bool(Port)>& still_in_use = {}) {
  const auto port = table.open(port_state::Ipi{}, vcpu0, still_in_use);
  return port ? port->raw() : 0;
}

TEST(PortTable, the_lowest_closed_port_is_opened) {
  PortTable table(8);
  for (std::uint32_t i = 1; i < 8; ++i) EXPECT_EQ(opened(table), i);
  EXPECT_EQ(opened(table), 0U);
  for (const std::uint32_t port : {5U, 2U, 6U}) table.close(Port(port));
  for (const std::uint32_t port : {2U, 5U, 6U, 0U}) EXPECT_EQ(opened(table), port);
}

TEST(PortTable, a_port_that_lingers_is_opened_once_it_is_in_use_no_more) {
  PortTable table(3);
  EXPECT_EQ(opened(table), 1U);
  EXPECT_EQ(opened(table), 2U);
  table.close(Port(1), true);
  EXPECT_EQ(table.find(Port(1)), nullptr);
  EXPECT_EQ(opened(table, [](Port) { return true; }), 0U);
  EXPECT_EQ(opened(table, [](Port) { return false; }), 1U);
}

TEST(PortTable, a_lower_limit_takes_the_ports_above_it_away) {
  PortTable table(10);
  for (std::uint32_t i = 1; i < 10; ++i) EXPECT_EQ(opened(table), i);
  for (std::uint32_t i = 1; i < 10; ++i) table.close(Port(i), i % 2 == 0);
  table.none_lingers();
  table.set_limit(4);
  for (const std::uint32_t port : {1U, 2U, 3U, 0U}) EXPECT_EQ(opened(table), port);
  table.set_limit(6);
  for (const std::uint32_t port : {4U, 5U, 0U}) EXPECT_EQ(opened(table), port);
}

// A guest that leaves all its ports in queues, and closes them.
TEST(PortTable, ports_that_linger_for_good_make_no_open_look_at_many) {
  PortTable table(EventFifo::ports);
  while (opened(table) != 0) {
  }
  for (std::uint32_t i = 1; i < EventFifo::ports; ++i) table.close(Port(i), true);
  std::size_t looked_at = 0;
  const auto still_in_use = [&](Port) {
    ++looked_at;
    return true;
  };
  for (int i = 0; i < 100; ++i) {
    looked_at = 0;
    EXPECT_EQ(opened(table, still_in_use), 0U);
    EXPECT_LE(looked_at, PortTable::last_looks);
  }
  // One that was let go of is found in time, however many others are not.
  const auto all_but_one = [&](Port port) { return still_in_use(port) && port != Port(77'777); };
  for (int i = 0; i < 130; ++i) {
    looked_at = 0;
    const std::uint32_t port = opened(table, all_but_one);
    EXPECT_LE(looked_at, PortTable::last_looks);
    if (port == 0) continue;
    EXPECT_EQ(port, 77'777U);
    return;
  }
  FAIL() << "not found";
}

}  // namespace
}  // namespace pinfold::devices
