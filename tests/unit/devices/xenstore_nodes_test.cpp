// Nodes: who may see and change them, and how many a domain may have.
#include "xenstore_fixtures.hpp"

namespace pinfold::devices::xenstore {
namespace {

TEST_F(StoreTest, writing_creates_the_path_and_the_writer_owns_it) {
  ASSERT_TRUE(store.write(one, no_tx, path("a/b/c"), "v"));
  EXPECT_EQ(*store.read(one, no_tx, path("a/b/c")), "v");
  EXPECT_EQ(*store.read(one, no_tx, path("a/b")), "");
  EXPECT_EQ(store.permissions(one, no_tx, path("a"))->owner(), DomId(1));
  EXPECT_EQ(store.directory(one, no_tx, path("a"))->names, std::vector<std::string>{"b"});
}

TEST_F(StoreTest, a_domain_cannot_see_or_change_what_is_not_its_own) {
  ASSERT_TRUE(store.write(one, no_tx, path("a"), "v"));
  const auto theirs = path("/local/domain/1/a");
  EXPECT_EQ(store.read(two, no_tx, theirs).error(), Errno::eacces);
  EXPECT_EQ(store.write(two, no_tx, theirs, "x").error(), Errno::eacces);
  EXPECT_EQ(store.write(two, no_tx, theirs.child("new"), "x").error(), Errno::eacces);
  EXPECT_EQ(store.remove(two, no_tx, theirs).error(), Errno::eacces);
  EXPECT_EQ(store.mkdir(two, no_tx, theirs.child("d")).error(), Errno::eacces);
  EXPECT_EQ(store.directory(two, no_tx, path("/secret")).error(), Errno::eacces);
  EXPECT_EQ(store.set_permissions(two, no_tx, theirs, Permissions(DomId(2))).error(), Errno::eacces);
}

TEST_F(StoreTest, a_missing_node_below_an_unreadable_one_does_not_tell_that_it_is_missing) {
  EXPECT_EQ(store.read(one, no_tx, path("/secret/absent")).error(), Errno::eacces);
  EXPECT_EQ(store.read(one, no_tx, path("absent")).error(), Errno::enoent);
}

TEST_F(StoreTest, an_owner_may_share_but_not_give_away) {
  ASSERT_TRUE(store.write(one, no_tx, path("a"), "v"));
  EXPECT_EQ(store.set_permissions(one, no_tx, path("a"), Permissions(DomId(2))).error(), Errno::eperm);
  ASSERT_TRUE(store.set_permissions(one, no_tx, path("a"), *Permissions::parse({"n1", "r2"})));
  EXPECT_EQ(*store.read(two, no_tx, path("/local/domain/1/a")), "v");
  EXPECT_EQ(store.write(two, no_tx, path("/local/domain/1/a"), "x").error(), Errno::eacces);
  EXPECT_EQ(
      store.set_permissions(one, no_tx, path("a"), *Permissions::parse({"n1", "r2", "r3", "r4", "r5", "r6"}))
          .error(),
      Errno::enospc);
}

TEST_F(StoreTest, removal_takes_the_whole_subtree_and_gives_back_the_quota) {
  ASSERT_TRUE(store.write(one, no_tx, path("d/0"), ""));
  for (int i = 1; i < 18; ++i) ASSERT_TRUE(store.write(one, no_tx, path("d/" + std::to_string(i)), "")) << i;
  EXPECT_EQ(store.write(one, no_tx, path("more"), "").error(), Errno::enospc);
  EXPECT_EQ(store.read(one, no_tx, path("more")).error(), Errno::enoent);
  ASSERT_TRUE(store.write(two, no_tx, path("other", DomId(2)), ""));
  ASSERT_TRUE(store.remove(one, no_tx, path("d")));
  EXPECT_EQ(store.read(one, no_tx, path("d/3")).error(), Errno::enoent);
  EXPECT_TRUE(store.write(one, no_tx, path("more"), ""));
  EXPECT_TRUE(store.remove(one, no_tx, path("absent"))) << "its parent exists";
  EXPECT_EQ(store.remove(one, no_tx, path("no/such")).error(), Errno::enoent);
  EXPECT_EQ(store.remove(one, no_tx, path("/")).error(), Errno::einval);
}

TEST_F(StoreTest, a_creation_over_quota_creates_none_of_the_path) {
  EXPECT_EQ(store.write(one, no_tx, path("1/2/3/4/5/6/7/8/9/a/b/c/d/e/f/g/h/i/j/k"), "").error(),
            Errno::enospc);
  EXPECT_EQ(store.read(one, no_tx, path("1")).error(), Errno::enoent);
}

TEST_F(StoreTest, values_are_bounded) {
  EXPECT_TRUE(store.write(one, no_tx, path("v"), std::string(64, 'x')));
  EXPECT_EQ(store.write(one, no_tx, path("v"), std::string(65, 'y')).error(), Errno::enospc);
  EXPECT_EQ(*store.read(one, no_tx, path("v")), std::string(64, 'x'));
}

}  // namespace
}  // namespace pinfold::devices::xenstore
