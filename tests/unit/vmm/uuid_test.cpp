// UUIDs as text and as bytes.
#include "vmm/uuid.hpp"

#include <gtest/gtest.h>

#include <set>

namespace pinfold::vmm {
namespace {

constexpr std::string_view text = "00112233-4455-6677-8899-aabbccddeeff";

TEST(Uuid, bytes_are_in_the_texts_order) {
  const auto uuid = Uuid::parse(text);
  ASSERT_TRUE(uuid);
  for (unsigned i = 0; i < 16; ++i) EXPECT_EQ(uuid->bytes[i], 0x11 * i);
  EXPECT_EQ(uuid->text(), text);
}

TEST(Uuid, letters_may_be_large) {
  EXPECT_EQ(Uuid::parse("00112233-4455-6677-8899-AABBCCDDEEFF"), Uuid::parse(text));
}

TEST(Uuid, what_is_none_is_refused) {
  const std::string good(text);
  for (const std::string& bad :
       {std::string(), good.substr(1), good + "0", "{" + good + "}", "urn:uuid:" + good,
        std::string("00112233445566778899aabbccddeeff"), std::string("00112233-4455-6677-8899_aabbccddeeff"),
        std::string("001122334-455-6677-8899-aabbccddeeff"),
        std::string("0011223g-4455-6677-8899-aabbccddeeff"), std::string(36, '-'),
        std::string("00000000-0000-0000-0000-000000000000"), std::string(36, '\0')})
    EXPECT_FALSE(Uuid::parse(bad)) << bad;
}

TEST(Uuid, random_ones_are_of_version_4_and_differ) {
  std::set<std::string> seen;
  for (int i = 0; i < 200; ++i) {
    const auto uuid = Uuid::random();
    ASSERT_TRUE(uuid);
    EXPECT_EQ(uuid->bytes[6] >> 4, 4);
    EXPECT_EQ(uuid->bytes[8] >> 6, 2);
    EXPECT_EQ(Uuid::parse(uuid->text()), uuid);
    EXPECT_TRUE(seen.insert(uuid->text()).second);
  }
}

}  // namespace
}  // namespace pinfold::vmm
