#include "pvmmu/verdict.hpp"

#include <cinttypes>
#include <cstdio>

#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

std::string Refusal::describe() const {
  std::array<char, 320> line{};
  int used =
      std::snprintf(line.data(), line.size(), "%.*s: %.*s", static_cast<int>(info(rule).name.size()),
                    info(rule).name.data(), static_cast<int>(info(rule).text.size()), info(rule).text.data());
  const auto more = [&](const char* format, auto... values) {
    const auto at = static_cast<std::size_t>(used);
    if (at < line.size()) used += std::snprintf(line.data() + at, line.size() - at, format, values...);
  };
  if (table != no_mfn)
    more("; table %#" PRIx64 " slot %u entry %#" PRIx64, table.raw(), static_cast<unsigned>(slot),
         entry.raw());
  if (frame != no_mfn) {
    more("; frame %#" PRIx64, frame.raw());
    if (state.owner() == no_domain)
      more(" of %s", "nobody");
    else if (state.refs == 0)  // another domain's: only its owner is known
      more(" of domain %u", static_cast<unsigned>(state.owner().raw()));
    else
      more(" of domain %u, type %s x%u, %u references%s", static_cast<unsigned>(state.owner().raw()),
           name(state.type).data(), state.type_count, state.refs, state.pinned ? ", pinned" : "");
  }
  return std::string(line.data());
}

tl::unexpected<Refusal> Validator::refuse(Rule rule, Where where, Pte want, Mfn frame) {
  ++counters_.entries_refused;
  Refusal refusal{rule, where.table, where.slot, want, frame, Frame{}};
  if (contains(frame)) refusal.state = this->frame(frame);
  return tl::unexpected(refusal);
}

tl::unexpected<Refusal> Validator::refuse(Rule rule, Mfn frame) {
  return refuse(rule, Where{}, Pte(), frame);
}

}  // namespace pinfold::pvmmu
