// Memory of records: zeroed, backed only where it was written, and never moved when it grows.
#include "pvmmu/sparse_array.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <vector>

namespace pinfold::pvmmu {
namespace {

constexpr std::uint64_t elements_per_page = 4096 / sizeof(std::uint64_t);
constexpr std::uint64_t large = 512 * elements_per_page;  // elements of 2 MiB

/// How many of an array's first pages the host backs.
std::size_t backed_pages(const SparseArray<std::uint64_t>& array, std::uint64_t count) {
  std::vector<unsigned char> pages(count / elements_per_page);
  EXPECT_EQ(::mincore(&array[0], count * sizeof(std::uint64_t), pages.data()), 0);
  return static_cast<std::size_t>(std::count_if(pages.begin(), pages.end(), [](auto p) { return p & 1; }));
}

TEST(SparseArray, only_what_was_written_is_backed) {
  const SparseArray<std::uint64_t> array(4 * large, 4 * large);
  array[0] = array[2 * large + 1] = 1;
  EXPECT_EQ(backed_pages(array, 4 * large), 2U) << "2 MiB pages would back 512 pages for each";
  EXPECT_EQ(array[large], 0U);
}

TEST(SparseArray, what_was_written_stays_where_it_is_when_it_grows) {
  const SparseArray<std::uint64_t> array(1000, 8 * large);
  const std::uint64_t* const place = &array[999];
  array[999] = 42;
  ASSERT_TRUE(array.grow(3 * large));
  EXPECT_EQ(&array[999], place);
  EXPECT_EQ(*place, 42U);
  EXPECT_EQ(array[3 * large - 1], 0U);
  array.will_fill(large / 2, 2 * large);
  array[2 * large] = 7;
  EXPECT_EQ(array[2 * large], 7U);
  EXPECT_EQ(*place, 42U);
}

TEST(SparseArray, a_small_one_is_zeroed_and_grows_as_well) {
  const SparseArray<std::uint64_t> array(1, 100);
  ASSERT_TRUE(array.grow(100));
  for (std::uint64_t i = 0; i < 100; ++i) EXPECT_EQ(array[i], 0U);
  array.will_fill(0, 100);
}

TEST(SparseArray, an_element_outlives_its_array) {
  std::shared_ptr<const std::uint64_t> element;
  {
    const SparseArray<std::uint64_t> array(large, large);
    array[large - 1] = 42;
    element = array.lasting(large - 1);
  }
  EXPECT_EQ(*element, 42U);
}

TEST(SparseArrayDeathTest, what_it_has_not_grown_to_can_not_be_accessed) {
  const SparseArray<std::uint64_t> array(large, 4 * large);
  EXPECT_DEATH(array[2 * large] = 1, "");
}

TEST(SparseArray, what_the_host_has_no_address_space_for_is_refused) {
  EXPECT_THROW(SparseArray<std::uint64_t>(1, 1ULL << 58), std::bad_alloc);
}

}  // namespace
}  // namespace pinfold::pvmmu
