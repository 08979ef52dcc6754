#include "vmm/cpu/cpu_state.hpp"

#include <gtest/gtest.h>

namespace pinfold::vmm {
namespace {

TEST(CpuState, bits_of_cr4_that_are_not_the_guests_are_dropped) {
  CpuState state;
  EXPECT_FALSE(state.cr4_changed);
  state.set_cr4(~0ULL, true);
  EXPECT_EQ(state.cr4, cr4::tsd | cr4::de | cr4::fsgsbase | cr4::osxsave);
  EXPECT_TRUE(state.cr4_changed);
  state.set_cr4(~0ULL, false);
  EXPECT_EQ(state.cr4, cr4::tsd | cr4::de | cr4::osxsave) << "not offered";
  state.set_cr4(0, true);
  EXPECT_EQ(state.cr4, 0U);
}

}  // namespace
}  // namespace pinfold::vmm
