// Paths and permissions, as clients write them.
#include "xenstore_fixtures.hpp"

namespace pinfold::devices::xenstore {
namespace {

using namespace std::string_literals;

TEST(XenstorePath, relative_paths_start_at_the_clients_home) {
  EXPECT_EQ(path("device/vif", DomId(7)).text(), "/local/domain/7/device/vif");
  EXPECT_EQ(path("/a").text(), "/a");
}

TEST(XenstorePath, malformed_paths_are_refused) {
  for (const auto& bad : {""s, "/a/"s, "//"s, "/a//b"s, "a/"s, "/a b"s, "/a\0b"s, "/\xff"s, "/a."s}) {
    EXPECT_FALSE(Path::parse(bad, DomId(1))) << bad;
  }
  EXPECT_TRUE(Path::parse("/" + std::string(XENSTORE_REL_PATH_MAX - 1, 'a'), DomId(1)));
  EXPECT_FALSE(Path::parse("/" + std::string(XENSTORE_REL_PATH_MAX, 'a'), DomId(1)));
  EXPECT_TRUE(Path::parse("/local/domain/7/" + std::string(XENSTORE_REL_PATH_MAX, 'a'), DomId(1)));
  EXPECT_FALSE(Path::parse("/local/domain/7/" + std::string(XENSTORE_REL_PATH_MAX + 1, 'a'), DomId(1)));
  EXPECT_FALSE(Path::parse("/local/domain/x/" + std::string(XENSTORE_REL_PATH_MAX, 'a'), DomId(1)));
  EXPECT_TRUE(Path::parse(std::string(XENSTORE_REL_PATH_MAX, 'a'), DomId(1)));
  EXPECT_FALSE(Path::parse(std::string(XENSTORE_REL_PATH_MAX + 1, 'a'), DomId(1)));
}

TEST(XenstorePath, a_name_that_starts_alike_is_not_within) {
  EXPECT_TRUE(path("/a/b").is_within(path("/a")));
  EXPECT_TRUE(path("/a").is_within(path("/a")));
  EXPECT_FALSE(path("/ab").is_within(path("/a")));
  EXPECT_TRUE(path("/ab").is_within(path("/")));
}

TEST(XenstorePermissions, the_wire_form_survives_a_round_trip_and_garbage_is_refused) {
  const auto p = Permissions::parse({"n0", "r5", "b6", "w7"});
  ASSERT_TRUE(p);
  EXPECT_EQ(p->wire(), "n0\0r5\0b6\0w7\0"s);
  EXPECT_TRUE(p->allows({DomId(5)}, Want::read));
  EXPECT_FALSE(p->allows({DomId(5)}, Want::write));
  EXPECT_FALSE(p->allows({DomId(8)}, Want::read));
  for (const char* bad : {"", "r", "x5", "r-1", "r70000", "r5x", "5"})
    EXPECT_FALSE(Permissions::parse({bad})) << bad;
  EXPECT_FALSE(Permissions::parse({}));
}

}  // namespace
}  // namespace pinfold::devices::xenstore
