// No translation that a processor may have cached, of a leaf or of an upper level, gives access that the
// domain must not have. The validator, the flush protocol and the reuse of mirrors ensure that together.
// Emulated machines flush at every entry, and real ones speculate unpredictably; this model caches everything
// that could be cached.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "world.hpp"

namespace pinfold::processors {
namespace {

constexpr std::size_t steps = 1500;

void expect_no_harm(std::uint64_t seed, Tally& tally) {
  World world;
  if (const auto wrong = world.run(seed, steps, tally)) ADD_FAILURE() << "seed " << seed << ", " << *wrong;
}

TEST(Processors, never_use_what_they_remember_against_the_rules) {
  Tally tally;
  for (std::uint64_t seed = 1; seed <= 100 && !testing::Test::HasFailure(); ++seed)
    expect_no_harm(seed, tally);
  if (testing::Test::HasFailure()) return;
  EXPECT_GT(tally.mapped, 100U);
  EXPECT_GT(tally.made_tables, 20U);
  EXPECT_GT(tally.lent, 100U);
  EXPECT_GT(tally.given_back, 100U);
  EXPECT_GT(tally.upper_changes, 100U);
  EXPECT_GT(tally.entries, 1000U);
  EXPECT_GT(tally.flushes, 100U);
  EXPECT_GT(tally.waits, 100U);
  EXPECT_GT(tally.reused_mirrors, 100U);
  EXPECT_GT(tally.ended_tables_remembered, 100U) << "caches hardly ever hold anything that is over";
  EXPECT_GT(tally.outdated_uppers, 100U);
  EXPECT_GT(tally.arrivals_on_ended_roots, 10U);
  std::cout << tally.operations << " operations, " << tally.mapped << " pages mapped, " << tally.lent
            << " of the other domain, of which " << tally.given_back << " were unmapped, "
            << tally.made_tables << " made tables, " << tally.upper_changes << " of upper levels; "
            << tally.entries << " entries, " << tally.flushes << " flushes asked for, " << tally.waits
            << " waits; " << tally.reused_mirrors << " mirrors reused; at " << tally.ended_tables_remembered
            << " moments a processor remembered a table that had ended, at " << tally.outdated_uppers
            << " an entry that had changed; " << tally.arrivals_on_ended_roots
            << " entries by way of a root that had ended\n";
}

/// A new seed in each run; PINFOLD_SEED repeats one, PINFOLD_SEQUENCES runs more sequences.
TEST(Processors, never_use_what_they_remember_against_the_rules_on_a_seed_of_the_day) {
  const char* given = std::getenv("PINFOLD_SEED");
  const char* count = std::getenv("PINFOLD_SEQUENCES");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
  const std::uint64_t sequences = count != nullptr ? std::strtoull(count, nullptr, 0) : 3;
  std::cout << "PINFOLD_SEED=" << seed << "\n";
  Tally tally;
  for (std::uint64_t i = 0; i < sequences && !testing::Test::HasFailure(); ++i)
    expect_no_harm(seed + i, tally);
}

}  // namespace
}  // namespace pinfold::processors
