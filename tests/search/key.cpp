#include "key.hpp"

#include <algorithm>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace pinfold::pvmmu::search {
namespace {

using Order = std::array<std::uint8_t, most_frames>;      ///< The frames, in the order of their new numbers.
using Names = std::array<std::uint8_t, most_frames + 1>;  ///< By number, the new one.

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  const std::uint64_t words[2] = {a, b};
  return XXH3_64bits(words, sizeof words);
}

/// Finds the order of the frames in which the state's bytes are smallest. Frames are first sorted by
/// everything that does not depend on their numbers; all orders are tried only among frames that are equal in
/// this.
class Canonical {
 public:
  Canonical(const State& state, std::uint64_t frames) : state_(state), frames_(frames) {
    for (std::size_t i = 1; i <= frames_; ++i) {
      FrameImage& f = state_.frames[i];
      if (f.interrupted || f.release != 0) f.position = static_cast<std::uint16_t>(slots_below(f.position));
    }
    for (DomainImage& d : state_.domain)
      if (d.roots[0] > d.roots[1]) std::swap(d.roots[0], d.roots[1]);
  }

  State least() {
    color();
    Order order{};
    for (std::uint8_t i = 0; i < frames_; ++i) order[i] = static_cast<std::uint8_t>(i + 1);
    for (std::size_t i = 1; i < frames_;
         ++i)  // insertion sort; stable, so that what looks the same is in order
      for (std::size_t j = i; j > 0 && colors_[order[j]] < colors_[order[j - 1]]; --j)
        std::swap(order[j], order[j - 1]);
    permute(order, 0);
    return least_;
  }

 private:
  void color() {
    for (std::size_t i = 1; i <= frames_; ++i) {
      FrameImage plain = state_.frames[i];
      for (EntryCode& e : plain.guest)
        if (is_table(plain.type)) e = with_frame(e, 0);
      std::uint64_t uses = 0;
      for (const DomainImage& d : state_.domain)
        for (const std::uint8_t user : {d.roots[0], d.roots[1], d.data_hold, d.descriptor_hold})
          uses = uses << 2 | (user == i ? 1 : 0);
      colors_[i] = mix(XXH3_64bits(&plain, sizeof plain), uses);
    }
    colors_[frames_ + 1] = 1;
    for (int round = 0; round < 2; ++round) {
      auto next = colors_;
      for (std::size_t i = 1; i <= frames_; ++i) {
        if (!is_table(state_.frames[i].type)) continue;
        for (std::size_t slot = 0; slot < 2; ++slot) {
          const std::size_t target = frame_in(state_.frames[i].guest[slot]);
          if (target == 0) continue;
          named_[target] = names_[i] = true;
          next[i] = mix(next[i] + slot, colors_[target] ^ (target == i ? 7 : 0));
          next[target] += mix(colors_[i], slot + (target == i ? 2 : 0));
        }
      }
      colors_ = next;
    }
  }

  /// Tries all orders of the equal frames from `begin` on; they are in ascending order before and after.
  void permute(Order& order, std::size_t begin) {
    if (begin >= frames_) return consider(order);
    std::size_t end = begin + 1;
    bool connected = named_[order[begin]] || names_[order[begin]];
    while (end < frames_ && colors_[order[end]] == colors_[order[begin]]) {
      connected = connected || named_[order[end]] || names_[order[end]];
      ++end;
    }
    if (!connected) return permute(order, end);
    const auto first = order.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto last = order.begin() + static_cast<std::ptrdiff_t>(end);
    do permute(order, end);
    while (std::next_permutation(first, last));
  }

  void consider(const Order& order) {
    Names names{};
    for (std::uint8_t i = 0; i < frames_; ++i) names[order[i]] = static_cast<std::uint8_t>(i + 1);
    names[frames_ + 1] = static_cast<std::uint8_t>(frames_ + 1);
    State renamed;
    for (std::size_t i = 0; i < frames_; ++i) {
      FrameImage& f = renamed.frames[i + 1];
      f = state_.frames[order[i]];
      if (is_table(f.type))
        for (EntryCode& e : f.guest) e = with_frame(e, names[frame_in(e)]);
    }
    for (std::size_t d = 0; d < domains; ++d) {
      const DomainImage& from = state_.domain[d];
      DomainImage& to = renamed.domain[d];
      for (std::size_t i = 0; i < 2; ++i) to.roots[i] = names[from.roots[i]];
      if (to.roots[0] > to.roots[1]) std::swap(to.roots[0], to.roots[1]);
      to.data_hold = names[from.data_hold];
      to.descriptor_hold = names[from.descriptor_hold];
    }
    if (!found_ || std::memcmp(&renamed, &least_, sizeof renamed) < 0) least_ = renamed;
    found_ = true;
  }

  State state_, least_;
  std::uint64_t frames_;
  bool found_ = false;
  std::array<std::uint64_t, most_frames + 1> colors_{};
  std::array<bool, most_frames + 1> named_{}, names_{};
};

State swapped(State state) {
  for (FrameImage& f : state.frames)
    if (f.owner != 0) f.owner = static_cast<std::uint8_t>(3 - f.owner);
  std::swap(state.domain[0], state.domain[1]);
  return state;
}

}  // namespace

Key key_of(const State& state, std::uint64_t frames, bool symmetric) {
  State least = Canonical(state, frames).least();
  if (symmetric) {
    const State other = Canonical(swapped(state), frames).least();
    if (std::memcmp(&other, &least, sizeof other) < 0) least = other;
  }
  const XXH128_hash_t hash = XXH3_128bits(&least, sizeof least);
  return {hash.low64, hash.high64};
}

std::uint64_t raw_hash(const State& state) { return XXH3_64bits(&state, sizeof state); }

}  // namespace pinfold::pvmmu::search
