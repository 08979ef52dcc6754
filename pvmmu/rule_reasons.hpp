// Why each rule exists, and what a guest does instead of what it refuses.
#pragma once

#include <span>
#include <string_view>

#include "pvmmu/rules.hpp"

namespace pinfold::pvmmu {

struct RuleReason {
  Rule rule;
  std::string_view why;      ///< What a guest could do without the rule.
  std::string_view instead;  ///< What the guest has to do for the request to be accepted.
  /// Numbers of Xen's security advisories about similar mistakes (docs/xsa.md); the first 0 ends them.
  std::array<std::uint16_t, 4> advisories{};
};

/// One for each rule, in the order of `rules`.
[[nodiscard]] std::span<const RuleReason> rule_reasons();
[[nodiscard]] const RuleReason& reason(Rule rule);
/// What the guest is told: "-EINVAL" (xen/errno.h), or "GNTST_bad_page" (xen/grant_table.h).
[[nodiscard]] std::string_view told(const RuleInfo& rule);

}  // namespace pinfold::pvmmu
