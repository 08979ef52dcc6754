// Random sequences of operations of two domains: the validator does the same as the model at each step. A
// sequence that fails is reduced to the steps that matter, and printed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <random>

#include "world.hpp"

namespace pinfold::pvmmu::property {
namespace {

constexpr std::size_t steps_a_sequence = 600;

struct Failure {
  std::size_t step;
  std::string what;
};

std::optional<Failure> run(const std::vector<Operation>& operations, Tally& tally) {
  World world;
  for (std::size_t i = 0; i < operations.size(); ++i)
    if (auto what = world.step(operations[i], tally)) return Failure{i, *what};
  if (auto what = world.finish()) return Failure{operations.size(), *what};
  return std::nullopt;
}

/// Leaves out steps, in shorter and shorter runs, as long as the sequence still fails (delta debugging).
std::vector<Operation> shrink(std::vector<Operation> operations) {
  Tally unused;
  for (std::size_t chunk = operations.size() / 2; chunk > 0;) {
    bool shorter = false;
    for (std::size_t from = 0; from < operations.size();) {
      std::vector<Operation> fewer = operations;
      const auto begin = fewer.begin() + static_cast<std::ptrdiff_t>(from);
      fewer.erase(begin, begin + static_cast<std::ptrdiff_t>(std::min(chunk, fewer.size() - from)));
      const auto failure = run(fewer, unused);
      if (failure) {
        fewer.resize(std::min(fewer.size(), failure->step + 1));
        operations = std::move(fewer);
        shorter = true;
      } else {
        from += chunk;
      }
    }
    if (!shorter || chunk > operations.size()) chunk /= 2;
  }
  return operations;
}

/// Makes the numbers of each step simpler as long as the sequence still fails.
std::vector<Operation> simplify(std::vector<Operation> operations) {
  Tally unused;
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const auto try_with = [&](auto change) {
      std::vector<Operation> plainer = operations;
      change(plainer[i]);
      if (run(plainer, unused)) operations = std::move(plainer);
    };
    try_with([](Operation& op) { op.va = GuestVaddr(0); });
    try_with([](Operation& op) { op.other = Mfn(0); });
    // There is no level 0.
    try_with([](Operation& op) { op.choice = op.kind == Kind::pin ? 1 : 0; });
    try_with([](Operation& op) { op.slot = 0; });
    try_with([](Operation& op) { op.value = 0; });
    try_with([](Operation& op) { op.value &= bit::address | bit::present | bit::writable; });
    try_with([](Operation& op) { op.value &= ~bit::writable; });
  }
  return operations;
}

/// PINFOLD_NO_SHRINK: a sequence that fails is not reduced.
void report(const std::string& title, const std::vector<Operation>& operations) {
  if (std::getenv("PINFOLD_NO_SHRINK") != nullptr) {
    ADD_FAILURE() << title;
    return;
  }
  const auto few = simplify(shrink(operations));
  Tally unused;
  const auto failure = run(few, unused);
  std::string steps;
  for (const Operation& op : few) steps += "  " + op.describe() + "\n";
  for (const Operation& op : few) steps += "  " + op.code() + "\n";
  ADD_FAILURE() << title << ": " << (failure ? failure->what : "fails no more after shrinking") << "\n"
                << steps;
}

void expect_agreement(std::uint64_t seed, Tally& tally) {
  const auto operations = random_operations(seed, steps_a_sequence);
  if (run(operations, tally)) report("seed " + std::to_string(seed), operations);
}

TEST(ValidatorAndModel, agree_on_fixed_seeds_and_every_kind_of_step_is_both_accepted_and_refused) {
  Tally tally;
  for (std::uint64_t seed = 1; seed <= 40 && !testing::Test::HasFailure(); ++seed)
    expect_agreement(seed, tally);
  if (testing::Test::HasFailure()) return;
  for (std::size_t i = 0; i < kinds; ++i) {
    const auto kind = static_cast<Kind>(i);
    EXPECT_GT(tally.accepted[i], 20U) << name(kind) << " hardly ever succeeds: the sequences prove little";
    const bool can_be_refused = kind == Kind::update || kind == Kind::update_va ||
                                kind == Kind::store_to_l1 || kind == Kind::pin || kind == Kind::unpin ||
                                kind == Kind::load_root || kind == Kind::hold || kind == Kind::deallocate ||
                                kind == Kind::exchange || kind == Kind::write_descriptor ||
                                kind == Kind::clear_page || kind == Kind::copy_page;
    if (can_be_refused) {
      EXPECT_GT(tally.refused[i], 20U) << name(kind) << " is hardly ever refused";
    }
    std::cout << name(kind) << ": " << tally.accepted[i] << " accepted, " << tally.refused[i] << " refused\n";
  }
  for (std::size_t i = 0; i < resident_works; ++i) {
    EXPECT_GT(tally.resident[i], 20U) << "the resident path hardly ever does what has number " << i;
    std::cout << "resident path, " << i << ": " << tally.resident[i] << "\n";
  }
  EXPECT_GT(tally.resident_va_updates, 20U)
      << "the resident path hardly ever changes the entry of an address";
  std::cout << "resident path, by address: " << tally.resident_va_updates << "\n";
}

TEST(ValidatorAndModel, linear_tables_are_read_with_and_without_a_fault) {
  Tally tally;
  for (std::uint64_t seed = 1; seed <= 60 && !testing::Test::HasFailure(); ++seed)
    expect_agreement(seed, tally);
  std::cout << tally.linear_reads << " reads behind linear entries, " << tally.linear_faults << " faults\n";
  EXPECT_GT(tally.linear_reads, 20U);
  EXPECT_GT(tally.linear_faults, 5U);
}

/// Sequences to keep. When one fails, put here what `code()` printed of it. These were written by hand.
TEST(ValidatorAndModel, agree_on_sequences_that_are_kept) {
  const std::vector<std::vector<Operation>> kept{
      // An L2 that names itself, and one that names another L2.
      {{Kind::guest_store, 0, Mfn(6), Mfn(0), 0, 0x6003, GuestVaddr(0), 0},
       {Kind::pin, 0, Mfn(6), Mfn(0), 0, 0, GuestVaddr(0), 2},
       {Kind::guest_store, 0, Mfn(6), Mfn(0), 0, 0x16003, GuestVaddr(0), 0},
       {Kind::pin, 0, Mfn(22), Mfn(0), 0, 0, GuestVaddr(0), 2},
       {Kind::pin, 0, Mfn(6), Mfn(0), 0, 0, GuestVaddr(0), 2}},
      // A frame is given back while a table maps it, then no longer mapped anywhere, and exchanged.
      {{Kind::pin, 0, Mfn(8), Mfn(0), 0, 0, GuestVaddr(0), 1},
       {Kind::update, 0, Mfn(8), Mfn(0), 0, 0xe003, GuestVaddr(0), 1},
       {Kind::deallocate, 0, Mfn(14), Mfn(0), 0, 0, GuestVaddr(0), 0},
       {Kind::exchange, 0, Mfn(14), Mfn(0), 0, 0, GuestVaddr(0), 0},
       {Kind::update, 0, Mfn(8), Mfn(0), 0, 0, GuestVaddr(0), 1},
       {Kind::allocate, 1, Mfn(0), Mfn(0), 0, 0, GuestVaddr(0), 2}},
  };
  for (const auto& operations : kept) {
    Tally unused;
    if (run(operations, unused)) report("a kept sequence", operations);
  }
}

/// A new seed in each run; PINFOLD_SEED repeats one, PINFOLD_SEQUENCES runs more sequences.
TEST(ValidatorAndModel, agree_on_a_seed_of_the_day) {
  const char* given = std::getenv("PINFOLD_SEED");
  const char* count = std::getenv("PINFOLD_SEQUENCES");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
  const std::uint64_t sequences = count != nullptr ? std::strtoull(count, nullptr, 0) : 5;
  std::cout << "PINFOLD_SEED=" << seed << "\n";
  Tally tally;
  for (std::uint64_t i = 0; i < sequences && !testing::Test::HasFailure(); ++i)
    expect_agreement(seed + i, tally);
}

}  // namespace
}  // namespace pinfold::pvmmu::property
