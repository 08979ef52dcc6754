// docs/rules.md is the table of rules, for people. With PINFOLD_WRITE_DOCUMENTS set, this test writes it.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "pvmmu/rule_reasons.hpp"
#include "test_of_rule.hpp"

namespace pinfold::pvmmu::test {
namespace {

constexpr const char* path = PINFOLD_SOURCE_DIR "/docs/rules.md";

std::string document() {
  std::ostringstream out;
  out << "# The rules\n\n"
         "These are all rules by which pinfold refuses a change of a page table, of a descriptor table or of "
         "a domain's\n"
         "reservation, or the use of a grant. The first column has the rule's name in reports and traces, "
         "the "
         "second the error that\n"
         "the guest's hypercall returns, or the status of its operation; the last has the test that provokes "
         "the rule.\n"
         "`pvmmu/rules.hpp` is the source of this table; a test compares the two.\n\n"
         "| rule | error | what is refused | proved by |\n|---|---|---|---|\n";
  for (const RuleInfo& rule : rules)
    out << "| `" << rule.name << "` | " << told(rule) << " | " << rule.text << " | `unit."
        << (is_of_grants(rule) ? "devices.GrantRule." : "pvmmu.Rule.") << test_of(rule) << "` |\n";
  return out.str();
}

TEST(RulesDocument, says_what_the_code_says) {
  if (std::getenv("PINFOLD_WRITE_DOCUMENTS") != nullptr) std::ofstream(path) << document();
  std::ifstream file(path);
  const std::string found((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_EQ(found, document())
      << "write it anew: PINFOLD_WRITE_DOCUMENTS=1 unit_pvmmu --gtest_filter='RulesDocument.*'";
}

TEST(RulesDocument, knows_every_error_of_a_rule) {
  for (const RuleInfo& rule : rules) EXPECT_NE(told(rule), "") << rule.name;
}

}  // namespace
}  // namespace pinfold::pvmmu::test
