#include "trace/predicate.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "trace/numbers.hpp"

namespace pinfold::trace {

tl::expected<Predicate, std::string> Predicate::parse(std::string_view text) {
  std::string_view rest = text;
  const auto frame = number_of(cut(rest, ":"));
  if (!frame || rest.empty())
    return tl::unexpected(fmt::format("\"{}\" is not FRAME:CONDITION, such as 0x1f:type=l1,refs>3", text));
  Predicate predicate;
  predicate.frame_ = Mfn(*frame);
  while (!rest.empty()) {
    auto condition = condition_of(cut(rest, ","));
    if (!condition) return tl::unexpected(condition.error());
    predicate.conditions_.push_back(*condition);
  }
  return predicate;
}

tl::expected<Predicate::Condition, std::string> Predicate::condition_of(std::string_view text) {
  constexpr auto words = std::to_array<std::string_view>({"owned", "free", "pinned", "unpinned"});
  if (const auto word = std::ranges::find(words, text); word != words.end())
    return Condition{static_cast<What>(word - words.begin())};
  const std::size_t at = std::min(text.find_first_of("=<>"), text.size());
  const std::string_view name = text.substr(0, at), value = text.substr(std::min(at + 1, text.size()));
  if (name == "type" && at < text.size() && text[at] == '=')
    for (std::size_t t = 0; t < pvmmu::frame_types; ++t)
      if (pvmmu::name(static_cast<pvmmu::FrameType>(t)) == value) return Condition{What::type, '=', t};
  const auto number = number_of(value);
  if (number && at < text.size() && (name == "refs" || name == "types"))
    return Condition{name == "refs" ? What::refs : What::types, text[at], *number};
  return tl::unexpected(fmt::format("\"{}\" is no condition of a frame", text));
}

bool Predicate::meets(const pvmmu::Frame& frame, const Condition& c) {
  const auto compare = [&](std::uint64_t value) {
    return c.relation == '=' ? value == c.number : c.relation == '<' ? value < c.number : value > c.number;
  };
  switch (c.what) {
    case What::pinned: return frame.pinned;
    case What::unpinned: return !frame.pinned;
    case What::type:
      return c.number == 0 ? frame.type_count == 0
                           : frame.type_count != 0 && static_cast<std::uint64_t>(frame.type) == c.number;
    case What::refs: return compare(frame.refs);
    case What::types: return compare(frame.type_count);
    case What::owned:
    case What::free: break;
  }
  return true;
}

bool Predicate::holds(const pvmmu::Validator& mmu) const {
  const bool owned = mmu.contains(frame_) && mmu.owns(frame_);
  const pvmmu::Frame frame = owned ? mmu.frame(frame_) : pvmmu::Frame{};
  return std::ranges::all_of(conditions_, [&](const Condition& c) {
    if (c.what == What::owned) return owned;
    if (c.what == What::free) return !owned;
    return owned && meets(frame, c);
  });
}

}  // namespace pinfold::trace
