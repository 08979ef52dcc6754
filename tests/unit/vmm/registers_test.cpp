#include "vmm/registers.hpp"

#include <gtest/gtest.h>

namespace pinfold::vmm {
namespace {

TEST(Rflags, guests_may_set_all_that_is_neither_reserved_nor_of_the_monitors) {
  constexpr std::uint64_t defined = 0x3f7fd7;  // Intel SDM vol. 1, 3.4.3
  EXPECT_EQ(rflags::guests_own, defined & ~(rflags::fixed | rflags::if_ | rflags::iopl | rflags::vm));
}

}  // namespace
}  // namespace pinfold::vmm
