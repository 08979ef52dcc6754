#include "pvmmu/memory.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace pinfold::pvmmu {
namespace {

constexpr std::uint64_t not_present = ~bit::present;  // a guest may put anything there

/// Two pages. The tests look at the second; the first must not matter.
class UsedLines : public testing::Test {
 protected:
  void set_all(std::uint64_t value) {
    for (std::size_t slot = 0; slot < entries_per_table; ++slot) pages_.store(1, slot, value);
  }
  UsedLines() {
    for (std::size_t slot = 0; slot < entries_per_table; ++slot) pages_.store(0, slot, bit::present);
  }

  struct alignas(page_size) Bytes {
    std::byte bytes[page_size];
  };
  std::vector<Bytes> memory_{2};
  Pages pages_{memory_[0].bytes, 2};
};

TEST_F(UsedLines, a_table_without_present_entries_is_passed_over_whole) {
  for (const std::uint64_t value : {std::uint64_t{0}, not_present}) {
    set_all(value);
    EXPECT_EQ(pages_.next_used(1, 0), entries_per_table);
    EXPECT_EQ(pages_.last_used(1, entries_per_table), 0U);
  }
}

TEST_F(UsedLines, each_entry_makes_its_line_one_to_look_at) {
  for (std::size_t slot = 0; slot < entries_per_table; ++slot) {
    set_all(not_present);
    pages_.store(1, slot, bit::present);
    const std::size_t line = slot - slot % Pages::entries_per_line;
    EXPECT_EQ(pages_.next_used(1, 0), line) << slot;
    EXPECT_EQ(pages_.next_used(1, line), line) << slot;
    EXPECT_EQ(pages_.next_used(1, line + Pages::entries_per_line), entries_per_table) << slot;
    EXPECT_EQ(pages_.last_used(1, entries_per_table), line + Pages::entries_per_line) << slot;
    EXPECT_EQ(pages_.last_used(1, line), 0U) << slot;
  }
}

/// Work on a table that stopped in the middle of a line goes on there.
TEST_F(UsedLines, inside_a_line_nothing_is_passed_over) {
  set_all(0);
  for (std::size_t slot = 1; slot < Pages::entries_per_line; ++slot) {
    EXPECT_EQ(pages_.next_used(1, slot), slot);
    EXPECT_EQ(pages_.last_used(1, slot), slot);
  }
}

}  // namespace
}  // namespace pinfold::pvmmu
