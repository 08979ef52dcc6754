#include "vmm/gate/gate.hpp"

#include <gtest/gtest.h>

namespace pinfold::vmm {
namespace {

TEST(GateAddresses, system_calls_of_both_widths_are_told_apart) {
  EXPECT_EQ(Gate::syscall_entry(gate::user_text), SyscallEntry::bits64);
  EXPECT_EQ(Gate::syscall_entry(gate::user_text + 2), SyscallEntry::bits64);
  EXPECT_EQ(Gate::syscall_entry(gate::compat_entry), SyscallEntry::bits32);
  EXPECT_EQ(Gate::syscall_entry(gate::compat_entry + 2), SyscallEntry::bits32);
}

TEST(GateAddresses, addresses_between_the_entries_are_no_system_call) {
  for (const std::uint64_t offset : {1ULL, 3ULL, 4ULL, 15ULL, 17ULL, 19ULL, 0x1000ULL})
    EXPECT_FALSE(Gate::syscall_entry(gate::user_text + offset)) << offset;
  EXPECT_FALSE(Gate::syscall_entry(0));
  EXPECT_FALSE(Gate::syscall_entry(gate::user_text - 1));
}

TEST(GateAddresses, each_exception_entry_names_its_vector) {
  for (unsigned vector = 0; vector < gate::exceptions; ++vector) {
    EXPECT_EQ(Gate::exception_vector(gate::kernel_text + vector * gate::exception_stub_size), vector);
    EXPECT_EQ(Gate::exception_vector(gate::kernel_text + vector * gate::exception_stub_size + 2), vector);
  }
  EXPECT_FALSE(Gate::exception_vector(gate::kernel_text + gate::exceptions * gate::exception_stub_size));
  EXPECT_FALSE(Gate::exception_vector(gate::user_text));
}

TEST(GateAddresses, a_pass_is_its_own_processors_page) {
  const std::uint64_t pass = gate::cpu_area(1) + gate::pass_page * page_size;
  EXPECT_TRUE(Gate::in_pass(1, pass));
  EXPECT_TRUE(Gate::in_pass(1, pass + page_size - 1));
  EXPECT_FALSE(Gate::in_pass(1, pass + page_size));
  EXPECT_FALSE(Gate::in_pass(0, pass));
}

}  // namespace
}  // namespace pinfold::vmm
