// Messages about a configuration, whatever is in it.
#include "cli/config/remark.hpp"

#include <gtest/gtest.h>

namespace pinfold::cli::test {
namespace {

TEST(Remark, names_its_place_and_how_bad_it_is) {
  EXPECT_EQ((Remark{Severity::error, "guest.cfg", 3, "wrong"}).text(), "guest.cfg:3: wrong");
  EXPECT_EQ((Remark{Severity::warning, "guest.cfg", 0, "odd"}).text(), "guest.cfg: warning: odd");
  EXPECT_EQ((Remark{Severity::notice, "--disk", 0, "unused"}).text(), "--disk: notice: unused");
}

TEST(Remark, control_characters_do_not_reach_a_terminal) {
  EXPECT_EQ(printable("a\x1b[31m\n\t\r\x7f"), "a\\x1b[31m\\n\\t\\x0d\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\x9b31m")
      << "U+009B, as ESC and [";
  EXPECT_EQ(printable("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xc2\xa0"),
            "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xc2\xa0");
  EXPECT_EQ((Remark{Severity::error, "a\nb", 1, "c\nd"}).text(), "a\\nb:1: c\\nd") << "one line";
}

TEST(Remark, a_long_one_is_cut_between_characters) {
  const Remark long_one{Severity::error, "", 0, std::string(1 << 20, 'x')};
  EXPECT_EQ(long_one.text(), std::string(1000, 'x') + "…");
  std::string wide;
  for (int i = 0; i < 1000; ++i) wide += "€";
  const std::string text = Remark{Severity::error, "", 0, wide}.text();
  EXPECT_EQ(text, wide.substr(0, 999) + "…");
}

TEST(Remark, only_errors_are_errors) {
  EXPECT_FALSE(has_errors({}));
  EXPECT_FALSE(has_errors({{Severity::warning, "", 0, ""}, {Severity::notice, "", 0, ""}}));
  EXPECT_TRUE(has_errors({{Severity::warning, "", 0, ""}, {Severity::error, "", 0, ""}}));
}

}  // namespace
}  // namespace pinfold::cli::test
