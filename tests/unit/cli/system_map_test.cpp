#include "cli/system_map.hpp"

#include "cli/symbol_file.hpp"

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

TEST(SystemMap, names_are_fit_for_a_terminal) {
  // ESC, DEL, CSI as a byte and as UTF-8, backspace, BEL, NUL.
  std::string bad =
      "ffffffff81000000 t a\x1b[31mb\x7f"
      "c\x9b"
      "d\xc2\x9b"
      "e\b"
      "f\a";
  bad += '\0';
  bad += "g\n";
  bad += "ffffffff81000100 t " + std::string(100'000, 'x') + "\n";
  const SystemMap map = SystemMap::parse(bad);
  EXPECT_EQ(map.describe(0xffffffff81000000), "a?[31mb?c?d??e?f??g+0x0");
  EXPECT_LT(map.describe(0xffffffff81000100).size(), 600U);
  for (const std::uint64_t address : {0xffffffff81000000, 0xffffffff81000100})
    for (const char c : std::string(map.find(address)->name)) EXPECT_TRUE(c > 0x20 && c < 0x7f);
}

TEST(SystemMap, what_is_no_map_names_nothing) {
  EXPECT_TRUE(SystemMap::parse("").empty());
  EXPECT_TRUE(SystemMap::parse("ffffffff81000000 T").empty());
  EXPECT_TRUE(SystemMap::parse("zzz T name\n").empty());
  EXPECT_FALSE(SymbolFile::open_map("/nonexistent").has_value());
}

}  // namespace
}  // namespace pinfold::cli
