// Lists of the host's processors, on hosts that are made up.
#include "cli/config/cpu_list.hpp"

#include <gtest/gtest.h>

#include <initializer_list>

namespace pinfold::cli::test {
namespace {

vmm::Processors host(std::initializer_list<unsigned> numbers) {
  vmm::Processors all;
  for (const unsigned number : numbers) all.add(number);
  return all;
}

const vmm::Processors four = host({0, 1, 2, 3});

/// The processors, or the error behind a "!".
std::string chosen(const char* list, const vmm::Processors& all = four) {
  const auto processors = processors_of(list, all);
  return processors ? processors->text() : "!" + processors.error();
}

TEST(CpuList, items_count_from_left_to_right) {
  EXPECT_EQ(chosen("2"), "2");
  EXPECT_EQ(chosen("1-2"), "1-2");
  EXPECT_EQ(chosen("2-2"), "2");
  EXPECT_EQ(chosen("0-3,^1"), "0,2-3");
  EXPECT_EQ(chosen("^1,0-3"), "0-3");
  EXPECT_EQ(chosen("0-3,^1-2,1"), "0-1,3");
  EXPECT_EQ(chosen(" 0 ,\t3"), "0,3");
  EXPECT_EQ(chosen("0,,3,"), "0,3");
}

TEST(CpuList, all_is_what_the_host_has) {
  EXPECT_EQ(chosen("all"), "0-3");
  EXPECT_EQ(chosen("all", host({1, 5})), "1,5");
  EXPECT_EQ(chosen("all,^3"), "0-2");
  EXPECT_EQ(chosen("all,^7"), "0-3") << "what the host has not can be left out";
}

TEST(CpuList, what_is_no_list_is_refused) {
  for (const char* list : {"x", "1-", "-1", "3-1", "1-2-3", "0x1", "+1", "1 2", "^", "^^1", "8192", "0-8192",
                           "99999999999999999999", "^8192", "All", "^all"})
    EXPECT_TRUE(chosen(list).starts_with("!")) << list;
  EXPECT_EQ(chosen("0,3-1"), "!'3-1' is not all, a processor or a range of them (0 to 8191) such as 0-3");
}

TEST(CpuList, something_must_be_left) {
  for (const char* list : {"", " ", ",", "^1", "1,^1", "all,^0-8191"})
    EXPECT_EQ(chosen(list), "!'" + std::string(list) + "' leaves no processor");
}

TEST(CpuList, a_processor_that_the_host_has_not_is_refused) {
  EXPECT_EQ(chosen("0-4"), "!processor 4 is not among those that pinfold may use: 0-3");
  EXPECT_EQ(chosen("8191"), "!processor 8191 is not among those that pinfold may use: 0-3");
  EXPECT_EQ(chosen("0", host({1, 2, 5})), "!processor 0 is not among those that pinfold may use: 1-2,5");
  EXPECT_EQ(chosen("0-9,^4-9"), "0-3");
}

TEST(CpuList, nodes_are_refused_with_a_reason) {
  for (const char* list : {"node:0", "nodes:0-1", "1,^node:0"})
    EXPECT_NE(chosen(list).find("NUMA nodes are not known here"), std::string::npos) << list;
}

TEST(CpuLists, without_a_list_nothing_is_chosen) {
  const auto none = processors_of(CpuLists{}, 2, four);
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->empty());
}

TEST(CpuLists, one_list_is_for_all_vcpus) {
  const auto both = processors_of(CpuLists{"1", {}}, 2, four);
  ASSERT_TRUE(both);
  EXPECT_EQ(*both, std::vector(2, host({1})));
}

TEST(CpuLists, vcpus_without_a_list_use_all_processors) {
  const auto three = processors_of(CpuLists{std::nullopt, {"0", "2-3"}}, 3, four);
  ASSERT_TRUE(three);
  EXPECT_EQ(*three, (std::vector{host({0}), host({2, 3}), four}));
}

TEST(CpuLists, lists_without_a_vcpu_are_left_out) {
  const auto one = processors_of(CpuLists{std::nullopt, {"0", "9"}}, 1, four);
  ASSERT_TRUE(one);
  EXPECT_EQ(*one, std::vector{host({0})});
}

TEST(CpuLists, an_error_names_the_vcpu) {
  EXPECT_EQ(processors_of(CpuLists{std::nullopt, {"0", "9"}}, 2, four).error(),
            "vCPU 1: processor 9 is not among those that pinfold may use: 0-3");
}

TEST(CpuLists, the_configuration_is_checked_without_a_host) {
  EXPECT_FALSE(error_in(CpuLists{}));
  EXPECT_FALSE(error_in(CpuLists{"8191", {}}));
  EXPECT_TRUE(error_in(CpuLists{"8192", {}}));
  EXPECT_TRUE(error_in(CpuLists{"2-1", {}}));
  EXPECT_FALSE(error_in(CpuLists{std::nullopt, {"0", "all,^7"}}));
  EXPECT_TRUE(error_in(CpuLists{std::nullopt, {"0", "^7"}}));
}

}  // namespace
}  // namespace pinfold::cli::test
