#include "vmm/cpu/repeated_fault.hpp"

#include <gtest/gtest.h>

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t rip = 0x400000, address = 0x7000, stores = 5;

/// The number of successive faults, made by `next`, until one is too many; 0: more than ten times the limit.
template <class Next>
std::uint64_t faults_until_the_end(Next next) {
  RepeatedFault fault;
  for (std::uint64_t i = 1; i <= 10 * RepeatedFault::limit; ++i)
    if (next(fault, i)) return i;
  return 0;
}

TEST(RepeatedFault, the_same_fault_with_nothing_changed_ends_at_the_limit) {
  EXPECT_EQ(faults_until_the_end([](auto& f, auto) { return f.repeats(rip, address, stores); }),
            RepeatedFault::limit + 1);
}

TEST(RepeatedFault, a_fault_that_changed_a_table_is_progress) {
  EXPECT_EQ(faults_until_the_end([](auto& f, auto i) { return f.repeats(rip, address, i); }), 0U);
}

TEST(RepeatedFault, another_exit_is_progress) {
  EXPECT_EQ(faults_until_the_end([](auto& f, auto i) {
              if (i % RepeatedFault::limit == 0) f.other_exit();
              return f.repeats(rip, address, stores);
            }),
            0U);
}

TEST(RepeatedFault, another_instruction_or_address_is_progress) {
  EXPECT_EQ(faults_until_the_end([](auto& f, auto i) { return f.repeats(rip + i % 2, address, stores); }),
            0U);
  EXPECT_EQ(faults_until_the_end([](auto& f, auto i) { return f.repeats(rip, address + i % 2, stores); }),
            0U);
}

}  // namespace
}  // namespace pinfold::vmm
