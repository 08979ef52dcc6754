// Which keys an xl.cfg has, and where.
#include "cli/config/xl_scanner.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace pinfold::cli::test {
namespace {

using Lines = std::vector<unsigned>;

TEST(XlScanner, finds_each_key_with_its_line) {
  const auto keys = scan_keys("# name = 'not this'\nname='a'; memory=512\n\n  uuid\t=\t\"x\"\n");
  ASSERT_EQ(keys.size(), 3U);
  EXPECT_EQ(keys[0].name, "name");
  EXPECT_EQ(keys[0].line, 2U);
  EXPECT_EQ(keys[1].name, "memory");
  EXPECT_EQ(keys[1].line, 2U);
  EXPECT_EQ(keys[2].name, "uuid");
  EXPECT_EQ(keys[2].line, 4U);
}

TEST(XlScanner, what_looks_like_a_key_in_a_value_is_none) {
  const auto keys = scan_keys(
      "extra = \"root=/dev/xvda; b=1 \\\" c=2\"\n"
      "disk = [ 'format=raw, vdev=xvda', # d='1'\n 'e=5' ]\n"
      "vnuma = [ [ 'pnode=0', \"size=1\" ], [] ]\nend=1\n");
  std::vector<std::string> names;
  for (const XlKey& key : keys) names.push_back(key.name);
  EXPECT_EQ(names, (std::vector<std::string>{"extra", "disk", "vnuma", "end"}));
  EXPECT_EQ(keys[3].line, 5U);
}

TEST(XlScanner, items_of_a_list_have_lines) {
  const auto keys = scan_keys("disk = [ 'a',\n 'b', # a comment\n\n 'c'\n,\n ['d', 'e'], 5,\n]\n");
  ASSERT_EQ(keys.size(), 1U);
  EXPECT_EQ(keys[0].line, 1U);
  EXPECT_EQ(keys[0].item_lines, (Lines{1, 2, 4, 6, 6}));
  EXPECT_EQ(scan_keys("disk = [ ]\n")[0].item_lines, Lines{});
}

TEST(XlScanner, the_last_of_two_equal_keys_counts) {
  const auto keys = scan_keys("a=1\nb=[1]\na=2\nb=[2,\n3]\na=3\n");
  ASSERT_EQ(keys.size(), 2U);
  EXPECT_EQ(keys[0].line, 6U);
  EXPECT_EQ(keys[0].replaced, (Lines{1, 3}));
  EXPECT_FALSE(keys[0].is_added);
  EXPECT_EQ(keys[1].item_lines, (Lines{4, 5}));
}

TEST(XlScanner, what_is_added_keeps_what_was_there) {
  const auto keys = scan_keys("b=[1,\n2]\nb += [3]\n");
  ASSERT_EQ(keys.size(), 1U);
  EXPECT_EQ(keys[0].line, 1U);
  EXPECT_EQ(keys[0].item_lines, (Lines{1, 2, 3}));
  EXPECT_TRUE(keys[0].is_added);
  EXPECT_TRUE(keys[0].replaced.empty());
}

TEST(XlScanner, any_text_has_an_end) {
  for (const char* text : {"", "a", "a=", "a=[", "a=[[[", "a='", "a='\\", "=", "]]]", "a=[,,]", "a+",
                           "a+=", "\n\n", "#", "a=['\n", "import os\nname=1"})
    (void)scan_keys(text);
  EXPECT_EQ(scan_keys("import os\nname=1")[0].name, "name");
}

}  // namespace
}  // namespace pinfold::cli::test
