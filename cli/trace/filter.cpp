#include "trace/filter.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "trace/numbers.hpp"

namespace pinfold::trace {
namespace {

using pvmmu::TraceKind;

constexpr std::array<std::string_view, 10> field_names{"op",   "verdict", "frame",  "table",  "level",
                                                       "vcpu", "address", "domain", "lender", "grant"};

}  // namespace

tl::expected<Filter, std::string> Filter::of(const std::vector<std::string>& texts) {
  Filter filter;
  for (const std::string& text : texts)
    if (auto added = filter.add(text); !added) return tl::unexpected(added.error());
  return filter;
}

tl::expected<void, std::string> Filter::add(std::string_view text) {
  while (!text.empty()) {
    std::string_view word = cut(text, " ;");
    if (word.empty()) continue;
    const std::string_view whole = word;
    const std::string_view name = cut(word, "=");
    const auto field = std::ranges::find(field_names, name);
    if (field == field_names.end() || whole.size() == name.size())
      return tl::unexpected(
          fmt::format("\"{}\" is no condition; there are op=, verdict=, frame=, table=, level=, "
                      "vcpu=, address=, domain=, lender= and grant=",
                      whole));
    Condition condition{static_cast<Field>(field - field_names.begin()), {}};
    do {
      auto value = value_of(condition.field, cut(word, ","));
      if (!value) return tl::unexpected(fmt::format("\"{}\": {}", whole, value.error()));
      condition.values.push_back(*value);
    } while (!word.empty());
    conditions_.push_back(std::move(condition));
  }
  return {};
}

tl::expected<Filter::Value, std::string> Filter::value_of(Field field, std::string_view text) {
  Value value;
  if (field == Field::op) {
    for (std::size_t k = 0; k < pvmmu::trace_kinds; ++k)
      if (name(static_cast<TraceKind>(k)) == text) {
        value.number = k;
        return value;
      }
    return tl::unexpected(fmt::format("there is no operation \"{}\"", text));
  }
  if (field == Field::verdict) {
    value.accepted = text == "accepted";
    value.refused = text == "refused";
    if (value.accepted || value.refused) return value;
    const auto rule = std::ranges::find(pvmmu::rules, text, &pvmmu::RuleInfo::name);
    if (rule == pvmmu::rules.end()) return tl::unexpected(fmt::format("there is no rule \"{}\"", text));
    value.number = static_cast<std::uint64_t>(rule - pvmmu::rules.begin());
    return value;
  }
  const auto number = number_of(text);
  if (!number) return tl::unexpected(fmt::format("\"{}\" is no number", text));
  if (field == Field::level && (*number < 1 || *number > 4))
    return tl::unexpected(std::string("levels are 1 to 4"));
  value.number = *number;
  return value;
}

bool Filter::meets(const LogEvent& e, Field field, const Value& value) {
  const std::uint64_t n = value.number;
  switch (field) {
    case Field::op: return static_cast<std::uint64_t>(e.kind) == n;
    case Field::verdict: {
      if (!is_judged(e.kind)) return false;
      const bool refused = e.refusal && e.refusal->rule != pvmmu::Rule::unfinished;
      if (value.accepted) return !e.refusal;
      if (value.refused) return refused;
      return e.refusal && static_cast<std::uint64_t>(e.refusal->rule) == n;
    }
    case Field::frame: {
      const Mfn mfn(n);
      if (e.frame == mfn || (e.refusal && e.refusal->frame == mfn)) return true;
      if (e.table == no_mfn) return false;
      return (e.now.present() && e.now.mfn() == mfn) || (e.old.present() && e.old.mfn() == mfn);
    }
    case Field::table: return e.table.raw() == n || (e.refusal && e.refusal->table.raw() == n);
    case Field::level: return e.level == n;
    case Field::domain: return e.domain.raw() == n;
    case Field::lender: return e.grant && e.grant->lender.raw() == n;
    case Field::grant: return e.grant && e.grant->ref.raw() == n;
    case Field::vcpu: return e.by_vcpu && e.vcpu.raw() == n;
    case Field::address:
      return (e.kind == TraceKind::update_va && e.argument >> page_shift == n >> page_shift) ||
             (e.table != no_mfn && entry_address(e.table, e.slot).raw() == (n & ~7ULL)) ||
             (e.by_vcpu && e.ip.raw() == n);
  }
  return false;
}

bool Filter::matches(const LogEvent& event) const {
  return std::ranges::all_of(conditions_, [&](const Condition& condition) {
    return std::ranges::any_of(condition.values,
                               [&](const Value& value) { return meets(event, condition.field, value); });
  });
}

}  // namespace pinfold::trace
