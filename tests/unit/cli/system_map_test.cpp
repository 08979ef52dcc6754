#include "cli/system_map.hpp"

#include <gtest/gtest.h>

namespace pinfold::cli {
namespace {

constexpr std::string_view text =
    "0000000000001000 A fixed_percpu_data\n"
    "ffffffff81000000 T startup_xen\r\n"
    "ffffffff81000000 T alias_of_it\n"
    "ffffffff81000100 t helper\n"
    "not a line\n"
    "ffffffff81000180 D data_in_between\n"
    "ffffffff81000200 W weak_one [module]\n";

TEST(SystemMap, an_address_is_within_the_function_that_begins_below_it) {
  const SystemMap map = SystemMap::parse(text);
  EXPECT_EQ(map.describe(0xffffffff81000000), "startup_xen+0x0");
  EXPECT_EQ(map.describe(0xffffffff810000ff), "startup_xen+0xff");
  EXPECT_EQ(map.describe(0xffffffff810001ff), "helper+0xff");
  EXPECT_EQ(map.describe(0xffffffff81000204), "weak_one+0x4");
}

TEST(SystemMap, addresses_outside_of_all_functions_stay_numbers) {
  const SystemMap map = SystemMap::parse(text);
  EXPECT_EQ(map.describe(0x1000), "0x1000");
  EXPECT_EQ(map.describe(0xffffffff91000000), "0xffffffff91000000");
  EXPECT_EQ(SystemMap().describe(1), "0x1");
}

TEST(SystemMap, what_is_no_map_names_nothing) {
  EXPECT_TRUE(SystemMap::parse("").empty());
  EXPECT_TRUE(SystemMap::parse("ffffffff81000000 T").empty());
  EXPECT_TRUE(SystemMap::parse("zzz T name\n").empty());
  EXPECT_FALSE(SystemMap::load("/nonexistent").has_value());
}

}  // namespace
}  // namespace pinfold::cli
