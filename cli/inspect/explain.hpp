// `pinfold explain`: what a rule is for, and what stands in the way of a change of a frame.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cli/control/protocol.hpp"
#include "pvmmu/rules.hpp"

namespace pinfold::cli {

/// The rule of this name. A whole refusal, as reports have it ("l1.foreign-frame: …"), names its rule, too.
[[nodiscard]] std::optional<pvmmu::Rule> find_rule(std::string_view text);

/// {"rule","error","refuses","why","instead","advisories":[numbers]}
[[nodiscard]] Json explain_rule(pvmmu::Rule rule);
/// The same of all rules, in the order of docs/rules.md.
[[nodiscard]] Json explain_rules();

/// From the control socket's answer about a frame: which changes are refused now, what holds the references
/// that cause this, and what the guest would have to do:
/// {"frame","is","refused":[{"change","rules":[…]}],"holders":[{"holder","instead"}]}
[[nodiscard]] Json explain_frame(const Json& frame);

[[nodiscard]] std::string rule_text(const Json& explained);
[[nodiscard]] std::string rules_text(const Json& explained);
[[nodiscard]] std::string frame_explanation_text(const Json& explained);

}  // namespace pinfold::cli
