#include "entries.hpp"

namespace pinfold::pvmmu::search {

Alphabet::Alphabet(const Size& size, const State& state, std::uint8_t domain, Level level) {
  const bool leaf = level == Level::l1;
  std::vector<Pte> mine;
  std::vector refused{Pte(Mfn(1), mapped_rw_clean | bit::pat_or_large),  // PAT in an L1, a large page above
                      Pte(Mfn(size.frames + 1), mapped_rw_clean)};       // past the machine
  for (std::uint64_t i = 1; i <= size.frames; ++i) {
    const Mfn frame(i);
    if (state.frames[i].owner != domain) {
      refused.emplace_back(frame, leaf ? mapped_rw : mapped_rw_clean);
      continue;
    }
    if (leaf || size.read_only_tables) mine.emplace_back(frame, mapped_ro);
    if (leaf) mine.emplace_back(frame, mapped_rw);
    if (!leaf || size.clean) mine.emplace_back(frame, mapped_rw_clean);
  }
  entries_ = {std::vector{Pte()}, std::vector{Pte()}};
  entries_[0].insert(entries_[0].end(), mine.begin(), mine.end());
  if (!leaf || size.two_leaves) entries_[1] = entries_[0];
  for (std::size_t which = 0; which < slots.size(); ++which) {
    acceptable_[which] = entries_[which].size();
    entries_[which].insert(entries_[which].end(), refused.begin(), refused.end());
  }
}

std::size_t Alphabet::pairs() const {
  return acceptable_[0] * few(1).size() + entries_[0].size() - acceptable_[0];
}

std::array<Pte, 2> Alphabet::pair(std::size_t which) const {
  const std::size_t seconds = few(1).size(), full = acceptable_[0] * seconds;
  if (which >= full) return {entries_[0][acceptable_[0] + which - full], Pte()};
  return {entries_[0][which / seconds], entries_[1][which % seconds]};
}

std::array<Pte, 2> Alphabet::nested_pair(std::size_t which) const {
  if (which == 2 * acceptable_[0]) return {bad(), Pte()};
  return {entries_[0][which / 2], which % 2 == 0 ? Pte() : bad()};
}

}  // namespace pinfold::pvmmu::search
