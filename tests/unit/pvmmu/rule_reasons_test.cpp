// Each rule has a complete reason, which names only advisories that are in docs/xsa.md.
#include "pvmmu/rule_reasons.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>

namespace pinfold::pvmmu::test {
namespace {

std::string advisories_document() {
  std::ifstream file(PINFOLD_SOURCE_DIR "/docs/xsa.md");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

bool is_prose(std::string_view text) {
  return text.size() > 20 && text.back() == '.' && text.find("  ") == std::string_view::npos;
}

TEST(RuleReasons, each_rule_has_whole_sentences_of_its_own) {
  std::set<std::string_view> texts;
  ASSERT_EQ(rule_reasons().size(), rules.size());
  for (const RuleReason& r : rule_reasons()) {
    EXPECT_TRUE(is_prose(r.why)) << info(r.rule).name;
    EXPECT_TRUE(is_prose(r.instead)) << info(r.rule).name;
    EXPECT_TRUE(texts.insert(r.why).second) << info(r.rule).name;
    EXPECT_EQ(&reason(r.rule), &r);
  }
}

TEST(RuleReasons, advisories_are_ones_that_are_tried_here) {
  const std::string document = advisories_document();
  ASSERT_FALSE(document.empty());
  for (const RuleReason& r : rule_reasons())
    for (const std::uint16_t advisory : r.advisories)
      if (advisory != 0) {
        EXPECT_NE(document.find("\n| " + std::to_string(advisory) + " |"), std::string::npos)
            << info(r.rule).name << ": XSA-" << advisory;
      }
}

}  // namespace
}  // namespace pinfold::pvmmu::test
