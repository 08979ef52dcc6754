#include "cli/run/domain_ids.hpp"

#include <gtest/gtest.h>

namespace pinfold::cli {
namespace {

TEST(DomainIds, no_number_means_something_else_and_none_is_taken_twice) {
  const auto taken = [](DomId id) { return id == DomId(1) || id == DomId(4); };
  EXPECT_EQ(next_domain_id(DomId(0), taken), DomId(2));
  EXPECT_EQ(next_domain_id(DomId(3), taken), DomId(5));
  EXPECT_EQ(next_domain_id(DomId(DOMID_FIRST_RESERVED - 2), taken), DomId(DOMID_FIRST_RESERVED - 1));
  EXPECT_EQ(next_domain_id(DomId(DOMID_FIRST_RESERVED - 1), taken), DomId(2));
}

}  // namespace
}  // namespace pinfold::cli
