// The searches that CI runs, and the key that they rest on: it distinguishes states, but not names.
#include "search.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "key.hpp"
#include "steps.hpp"

namespace pinfold::pvmmu::search {
namespace {

void expect_nothing_found(const Size& size) {
  const Result result = search(size, Limits{});
  std::printf("%s\n", describe(result).c_str());
  EXPECT_FALSE(result.finding.has_value()) << *result.finding;
  EXPECT_TRUE(result.complete);
}

TEST(Search, every_state_of_four_frames_and_two_domains) { expect_nothing_found(sizes().at("pair")); }

TEST(Search, every_state_of_a_domain_of_three_frames_beside_another) {
  expect_nothing_found(sizes().at("domains"));
}

TEST(Search, every_state_of_three_frames_that_are_roots_or_held) {
  expect_nothing_found(sizes().at("roots"));
}

TEST(Search, every_state_of_two_frames_with_all_kinds_of_entries) {
  expect_nothing_found(sizes().at("held"));
}

TEST(Search, every_state_of_a_host_that_refuses) { expect_nothing_found(sizes().at("refusing")); }

/// Some states that have little in common.
std::vector<State> some_states(const Size& size) {
  std::mt19937 random(1);  // NOLINT: the same each time
  Box box(size);
  std::vector<State> all{State{}};
  while (all.size() < 300) {
    const State from = all[random() % all.size()];
    const auto wanted = static_cast<std::uint32_t>(random() % 200);
    box.load(from);
    each_step(
        box, from, [&] { box.load(from); },
        [&](const Operation& op, std::uint64_t budget, std::uint32_t number) -> std::optional<Outcome> {
          if (number > wanted) return std::nullopt;
          const Outcome outcome = apply(box, op, budget);
          if (number == wanted) all.push_back(box.save());
          return outcome;
        },
        [&](const Operation&, const Outcome&) { box.load(from); });
  }
  return all;
}

State renamed(const State& state, const std::array<std::uint8_t, most_frames + 1>& names) {
  State other;
  for (std::size_t i = 0; i < most_frames; ++i) {
    FrameImage& f = other.frames[names[i]];
    f = state.frames[i];
    if (is_table(f.type))
      for (EntryCode& e : f.guest) e = with_frame(e, names[frame_in(e)]);
  }
  for (std::size_t d = 0; d < domains; ++d) {
    const DomainImage& from = state.domain[d];
    other.domain[d] = {
        {names[from.roots[1]], names[from.roots[0]]}, names[from.data_hold], names[from.descriptor_hold]};
  }
  return other;
}

TEST(Key, does_not_depend_on_names) {
  Size size = sizes().at("pair");
  size.writable_holds = size.descriptor_holds = true;
  std::mt19937 random(2);  // NOLINT: the same each time
  std::array<std::uint8_t, most_frames + 1> names{};
  std::iota(names.begin(), names.end(), std::uint8_t{0});
  for (const State& state : some_states(size))
    for (int i = 0; i < 10; ++i) {
      std::shuffle(names.begin() + 1, names.begin() + 1 + static_cast<std::ptrdiff_t>(size.frames), random);
      EXPECT_EQ(key_of(state, size.frames, false), key_of(renamed(state, names), size.frames, false))
          << describe(state, size.frames);
    }
}

TEST(Key, of_states_that_differ_in_anything_else_differs) {
  const Size size = sizes().at("pair");
  for (const State& state : some_states(size))
    for (std::size_t byte = 0; byte < sizeof(FrameImage) * 2; ++byte) {
      State other = state;
      auto* const bytes = reinterpret_cast<unsigned char*>(&other.frames[1]);
      bytes[byte] ^= 1;
      // Positions between the same slots are equal. The bits and the frame of an entry are only distinguished
      // in tables.
      const std::size_t field = byte % sizeof(FrameImage);
      if (field == offsetof(FrameImage, position) || field == offsetof(FrameImage, position) + 1) continue;
      if (field == offsetof(FrameImage, owner)) continue;
      EXPECT_NE(key_of(state, size.frames, false), key_of(other, size.frames, false)) << "byte " << byte;
    }
}

TEST(Choices, all_are_made_once) {
  Choices choices;
  std::vector<std::vector<std::size_t>> runs;
  choices.begin();
  do {
    std::vector<std::size_t>& run = runs.emplace_back();
    run.push_back(choices.pick(3));
    if (run.back() == 1) run.push_back(choices.pick(2));
  } while (choices.next());
  EXPECT_EQ(runs, (std::vector<std::vector<std::size_t>>{{0}, {1, 0}, {1, 1}, {2}}));
}

}  // namespace
}  // namespace pinfold::pvmmu::search
