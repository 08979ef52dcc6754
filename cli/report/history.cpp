#include "report/history.hpp"

#include <algorithm>

namespace pinfold::report {

void Histories::note(std::uint32_t event, Mfn first, std::uint64_t count, Look look) {
  if (count == 1) {
    if (ones_.size() == most_) {
      ++left_out_;
      return;
    }
    ones_.push_back({static_cast<std::uint32_t>(first.raw()), event, look});
  } else if (ranges_.size() == most_ranges) {
    ++left_out_;
  } else {
    ranges_.push_back({first.raw(), first.raw() + count, {event, look}});
  }
}

/// The history of a frame whose own changes these are: with those of the ranges that it is in, thinned to one
/// a `resolution`, and without what changes nothing.
std::vector<Change> Histories::history(std::span<const One> own, std::uint64_t frame,
                                       std::uint32_t resolution) const {
  std::vector<Change> all;
  all.reserve(own.size() + 2);
  auto range = ranges_.begin();
  const auto take_ranges_until = [&](std::uint64_t event) {
    for (; range != ranges_.end() && range->change.event < event; ++range)
      if (frame >= range->first && frame < range->end) all.push_back(range->change);
  };
  for (const One& one : own) {
    take_ranges_until(one.event);
    all.push_back({one.event, one.look});
  }
  take_ranges_until(~0ULL);

  std::vector<Change> kept;
  for (const Change& change : all) {
    if (!kept.empty() && change.event / resolution == kept.back().event / resolution)
      kept.back().look = change.look;
    else
      kept.push_back(change);
    const Look before = kept.size() > 1 ? kept[kept.size() - 2].look : look_absent;
    if (kept.back().look == before) kept.pop_back();
  }
  return kept;
}

std::vector<Run> Histories::runs(std::uint32_t resolution) const {
  // Frames between these have no changes but those of whole ranges, and lie in the same ones.
  std::vector<std::uint64_t> borders;
  for (const Many& range : ranges_) borders.insert(borders.end(), {range.first, range.end});
  std::ranges::sort(borders);
  // clang 14 does not take what std::ranges::unique gives.
  borders.erase(std::unique(borders.begin(), borders.end()), borders.end());

  std::vector<Run> all;
  const auto add = [&](std::uint64_t first, std::uint64_t end, std::vector<Change>&& changes) {
    if (changes.empty() || first >= end) return;
    if (!all.empty() && all.back().first + all.back().count == first && all.back().changes == changes)
      all.back().count += end - first;
    else
      all.push_back({first, end - first, std::move(changes)});
  };
  std::uint64_t at = 0;
  auto border = borders.begin();
  const auto fill_to = [&](std::uint64_t end) {
    while (at < end) {
      while (border != borders.end() && *border <= at) ++border;
      const std::uint64_t next = border == borders.end() ? end : std::min(end, *border);
      add(at, next, history({}, at, resolution));
      at = next;
    }
  };
  for (auto one = ones_.begin(); one != ones_.end();) {
    const auto end = std::find_if(one, ones_.end(), [&](const One& o) { return o.frame != one->frame; });
    fill_to(one->frame);
    add(at, at + 1, history({one, end}, at, resolution));
    ++at;
    one = end;
  }
  fill_to(borders.empty() ? at : std::max(at, borders.back()));
  return all;
}

Histories::Result Histories::result(std::size_t most) {
  std::ranges::stable_sort(ones_, {}, &One::frame);
  Result result;
  while (true) {
    result.runs = runs(result.resolution);
    std::size_t changes = 0;
    for (const Run& run : result.runs) changes += run.changes.size();
    if (changes <= most || result.resolution >= 1U << 30) return result;
    // Not twice as coarse each time, if it is far from enough: each round reads everything.
    do result.resolution *= 2;
    while (changes / 4 > most && (changes /= 2) != 0);
  }
}

}  // namespace pinfold::report
