#pragma once

#include <algorithm>
#include <string>

#include "pvmmu/rules.hpp"

namespace pinfold::pvmmu::test {

/// The name of the rule's test in the suite `Rule`: the rule's name made into an identifier.
inline std::string test_of(const RuleInfo& rule) {
  std::string name(rule.name);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '.' || c == '-'; }, '_');
  return name;
}

}  // namespace pinfold::pvmmu::test
