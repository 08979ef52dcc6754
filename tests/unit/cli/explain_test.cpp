// What `pinfold explain` says of rules and frames.
#include "cli/inspect/explain.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "pvmmu/rule_reasons.hpp"

namespace pinfold::cli::test {
namespace {

Json frame_of_type(const char* type, unsigned type_references) {
  return {{"frame", 291},
          {"owner", 1},
          {"owned", true},
          {"type", type},
          {"type_references", type_references},
          {"special", false},
          {"pinned", false},
          {"outside", Json::array()},
          {"entries", Json::array()}};
}

bool refuses(const Json& explained, const char* rule) {
  return std::ranges::any_of(explained["refused"], [&](const Json& refusal) {
    const Json& rules = refusal["rules"];
    return std::ranges::find(rules, rule) != rules.end();
  });
}

TEST(Explain, finds_every_rule_by_name_and_in_a_report) {
  for (const pvmmu::RuleInfo& rule : pvmmu::rules) {
    ASSERT_TRUE(find_rule(rule.name)) << rule.name;
    EXPECT_EQ(find_rule(rule.name), find_rule(std::string(rule.name) + ": and what a report says"));
    EXPECT_NE(rule_text(explain_rule(*find_rule(rule.name))).find(rule.name), std::string::npos);
  }
  EXPECT_FALSE(find_rule("l1.no-such-rule"));
  EXPECT_FALSE(find_rule(""));
}

TEST(Explain, a_table_says_who_holds_it_and_what_would_end_it) {
  Json frame = frame_of_type("l1", 3);
  frame["pinned"] = true;
  frame["outside"].push_back({{"kind", "kernel_root"}, {"vcpu", 2}});
  frame["entries"].push_back({{"table", 5},
                              {"level", 2},
                              {"slot", 7},
                              {"entry", "0x1"},
                              {"writable", true},
                              {"addresses", Json::array()},
                              {"addresses_complete", true}});
  const Json explained = explain_frame(frame);
  EXPECT_TRUE(refuses(explained, "l1.writable-map-of-table"));
  EXPECT_EQ(explained["holders"].size(), 3U);
  const std::string text = frame_explanation_text(explained);
  for (const char* part : {"MMUEXT_UNPIN_TABLE", "kernel root of vCPU 2", "L2 0x5 slot 7", "mmu_update"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
}

TEST(Explain, writable_data_can_not_become_a_table) {
  const Json explained = explain_frame(frame_of_type("writable", 1));
  EXPECT_TRUE(refuses(explained, "upper.wrong-type"));
  EXPECT_FALSE(refuses(explained, "l1.writable-map-of-table"));
}

TEST(Explain, a_frame_that_nobody_relies_on_is_refused_nothing) {
  EXPECT_TRUE(explain_frame(frame_of_type("l2", 0))["refused"].empty());
}

TEST(Explain, a_foreign_frame_is_refused_by_the_rules_of_ownership) {
  const Json explained = explain_frame({{"frame", 5}, {"owner", 2}, {"owned", false}});
  EXPECT_TRUE(refuses(explained, "l1.foreign-frame"));
  EXPECT_TRUE(refuses(explained, "upper.foreign-frame"));
}

TEST(Explain, a_frame_that_is_mapped_by_a_grant_is_let_go_of_by_its_handle) {
  Json frame{{"frame", 5}, {"owner", 2}, {"owned", false}, {"borrowed", {{"readers", 1}, {"writers", 0}}}};
  frame["mappings"].push_back({{"handle", 3},
                               {"owner", 2},
                               {"grant", 9},
                               {"frame", 5},
                               {"writable", false},
                               {"by_entry", true},
                               {"for_device", false}});
  const Json explained = explain_frame(frame);
  EXPECT_TRUE(refuses(explained, "l1.foreign-frame"));
  const std::string text = frame_explanation_text(explained);
  for (const char* part : {"domain 2's, which granted it: mapped for reading",
                           "grant 9 of domain 2, for reading, by handle 3", "GNTTABOP_unmap_grant_ref"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
}

TEST(Explain, a_page_that_others_use_by_a_grant_says_who_they_are) {
  Json frame = frame_of_type("writable", 3);
  frame["domain"] = 1;
  for (const unsigned user : {0U, 1U, 2U})
    frame["granted"].push_back({{"grant", 7 + user}, {"domain", user}, {"readers", 1}, {"writers", user}});
  const std::string text = frame_explanation_text(explain_frame(frame));
  for (const char* part : {"a device's backend, by grant 7, for reading:", "the domain itself, by grant 8,",
                           "domain 2, by grant 9, for writing, 3 uses"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
}

}  // namespace
}  // namespace pinfold::cli::test
