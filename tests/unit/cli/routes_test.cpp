// Routing tables as Linux shows them.
#include "cli/networks/routes.hpp"

#include <gtest/gtest.h>

namespace pinfold::cli {
namespace {

constexpr const char* head =
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

TEST(Routes, a_default_route_of_ipv4_is_found) {
  const std::string local = "eth0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
  EXPECT_FALSE(has_ipv4_default(head));
  EXPECT_FALSE(has_ipv4_default(head + local));
  EXPECT_TRUE(
      has_ipv4_default(head + local + "eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"));
}

TEST(Routes, a_half_of_all_addresses_is_no_default_route) {
  EXPECT_FALSE(has_ipv4_default("tun0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000080\t0\t0\t0\n"));
}

TEST(Routes, one_that_is_down_or_refuses_is_none) {
  EXPECT_FALSE(has_ipv4_default("eth0\t00000000\t0102A8C0\t0002\t0\t0\t0\t00000000\t0\t0\t0\n"));
  EXPECT_FALSE(has_ipv4_default("*\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0\n"));
}

TEST(Routes, a_default_route_of_ipv6_is_found) {
  const std::string none(32, '0'), route = none + " 00 " + none + " 00 ";
  EXPECT_TRUE(has_ipv6_default(
      route + "fe800000000000000000000000000001 00000400 00000001 00000000 00450003 eth0\n"));
  EXPECT_FALSE(has_ipv6_default(route + none + " ffffffff 00000001 00000000 00200200 lo\n")) << "unreachable";
  EXPECT_FALSE(has_ipv6_default("fe800000000000000000000000000000 40 " + none + " 00 " + none +
                                " 00000100 00000001 00000000 00000001 eth0\n"));
}

TEST(Routes, what_is_no_table_has_none) {
  for (const char* text : {"", "\n", "00000000", "x y z 0 0 0 0 0 0 0", "a 0 0 g 0 0 0 0"}) {
    EXPECT_FALSE(has_ipv4_default(text)) << text;
    EXPECT_FALSE(has_ipv6_default(text)) << text;
  }
}

}  // namespace
}  // namespace pinfold::cli
