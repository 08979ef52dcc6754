#include "report/loans.hpp"

namespace pinfold::report {
namespace {

using pvmmu::TraceKind;

constexpr unsigned slot_bits = 9;
/// Mappings that are there at a time, in all domains. Those beyond are counted, and their ends are not.
constexpr std::size_t most_open = 1U << 20;

std::uint64_t key_of(Mfn table, std::uint16_t slot) { return table.raw() << slot_bits | slot; }

}  // namespace

LoanPair* Loans::pair_of(const trace::LogEvent& event, std::size_t& number) {
  const auto key = std::pair(event.domain, event.grant ? event.grant->lender : no_domain);
  const auto found = numbers_.find(key);
  if (found == numbers_.end()) {
    if (result_.pairs.size() == limits_.pairs) return nullptr;
    numbers_.emplace(key, result_.pairs.size());
    result_.pairs.push_back({key.first, key.second, 0, 0, 0, 1, {}});
    histograms_.emplace_back(limits_.buckets);
    kept_.push_back(0);
  }
  number = found == numbers_.end() ? result_.pairs.size() - 1 : found->second;
  return &result_.pairs[number];
}

void Loans::map(const trace::LogEvent& event, std::uint32_t at) {
  std::size_t number = 0;
  LoanPair* pair = pair_of(event, number);
  if (pair == nullptr) {
    ++result_.left_out;
    return;
  }
  ++pair->maps;
  histograms_[number].note(at);
  const bool possible = event.table.raw() < trace::most_frames &&
                        event.now.mfn().raw() < trace::most_frames && event.slot < pvmmu::entries_per_table;
  if (!possible || opened_ == most_open) return;
  end_at(event.domain, event.table, event.slot, at);
  ++opened_;
  Open place{number, kept_not};
  if (kept_[number] < limits_.of_a_pair) {
    ++kept_[number];
    place.loan = result_.loans.size();
    result_.loans.push_back({static_cast<std::uint16_t>(number), event.now.writable(), event.slot,
                             event.grant ? event.grant->ref.raw() : 0,
                             static_cast<std::uint32_t>(event.now.mfn().raw()),
                             static_cast<std::uint32_t>(event.table.raw()), at, at});
  }
  open_[event.domain].insert_or_assign(key_of(event.table, event.slot), place);
}

void Loans::end(Places& places, Places::iterator place, std::uint32_t at) {
  ++result_.pairs[place->second.pair].ended;
  if (place->second.loan != kept_not) result_.loans[place->second.loan].to = at;
  places.erase(place);
  --opened_;
}

void Loans::end_at(DomId domain, Mfn table, std::uint16_t slot, std::uint32_t at) {
  const auto places = open_.find(domain);
  if (places == open_.end()) return;
  const auto place = places->second.find(key_of(table, slot));
  if (place != places->second.end()) end(places->second, place, at);
}

/// The entry at `from` moves: it may be a mapping by a grant itself.
void Loans::move(DomId domain, std::uint64_t from, std::uint64_t to) {
  const auto places = open_.find(domain);
  if (places == open_.end()) return;
  auto node = places->second.extract(from);
  if (node.empty()) return;
  node.key() = to;
  places->second.insert(std::move(node));
}

void Loans::end_table(DomId domain, Mfn table, std::uint32_t at) {
  const auto places = open_.find(domain);
  if (places == open_.end()) return;
  const std::uint64_t after = key_of(table, 0) + (1U << slot_bits);
  for (auto place = places->second.lower_bound(key_of(table, 0));
       place != places->second.end() && place->first < after;) {
    const auto next = std::next(place);
    end(places->second, place, at);
    place = next;
  }
}

void Loans::end_all(DomId domain, std::uint32_t at) {
  const auto places = open_.find(domain);
  if (places == open_.end()) return;
  while (!places->second.empty()) end(places->second, places->second.begin(), at);
  open_.erase(places);
}

void Loans::event(const trace::LogEvent& event, std::uint32_t at) {
  const bool is_use = event.kind == TraceKind::use_grant && event.grant;
  if ((is_of_grant(event.kind) || is_use) && event.refusal) {
    std::size_t number = 0;
    if (LoanPair* pair = pair_of(event, number))
      ++pair->refused;
    else
      ++result_.left_out;
    return;
  }
  switch (event.kind) {
    case TraceKind::map_granted: return map(event, at);
    case TraceKind::unmap_granted:
    case TraceKind::update:
    case TraceKind::update_va:
    case TraceKind::store_l1:
      if (!event.refusal && event.table != no_mfn) end_at(event.domain, event.table, event.slot, at);
      return;
    case TraceKind::replace_granted: {
      end_at(event.domain, event.table, event.slot, at);
      const MachineAddr from(event.argument);
      const auto slot = static_cast<std::uint16_t>(offset_in_page(from) / sizeof(pvmmu::Pte));
      return move(event.domain, key_of(frame_of(from), slot), key_of(event.table, event.slot));
    }
    case TraceKind::plain_frame:
    case TraceKind::freed_frame: return end_table(event.domain, event.frame, at);
    case TraceKind::destroy: return end_all(event.domain, at);
    default: return;
  }
}

Loans::Result Loans::result(std::uint32_t end) {
  for (const auto& [domain, places] : open_)
    for (const auto& [key, open] : places)
      if (open.loan != kept_not) result_.loans[open.loan].to = end;
  for (std::size_t i = 0; i < result_.pairs.size(); ++i) {
    result_.pairs[i].bucket = histograms_[i].bucket();
    result_.pairs[i].maps_in = histograms_[i].counts();
  }
  return std::move(result_);
}

}  // namespace pinfold::report
