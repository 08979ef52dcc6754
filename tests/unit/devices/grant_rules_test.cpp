// Each rule about grants: something that it refuses, the status that the guest is told, and what those who
// watch the domain are told.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>

#include "grant_neighbour_fixture.hpp"
#include "test_of_rule.hpp"

namespace pinfold::devices {
namespace {

using pvmmu::GrantPurpose;
using pvmmu::Rule;

/// Domain 1 does what is refused; domain 2 grants.
struct GrantScene : GrantNeighbour {
  void TestBody() override {}
  std::int16_t copy_of(const gnttab_copy::gnttab_copy_ptr& source, std::uint16_t flags = 0) {
    return copy(flags, source, own(3));
  }
};

struct Refused {
  GrantPurpose purpose;
  std::int16_t status;
  std::function<std::int16_t(GrantScene&)> provoke;
};

const std::multimap<Rule, Refused>& provocations() {
  static const std::multimap<Rule, Refused> all{
      {Rule::grant_no_domain,
       {GrantPurpose::map, GNTST_bad_domain, [](GrantScene& s) { return s.one.map(7, 9).status; }}},
      {Rule::grant_no_domain,
       {GrantPurpose::copy_from, GNTST_bad_domain,
        [](GrantScene& s) { return s.copy_of(s.granted(7, 9), GNTCOPY_source_gref); }}},
      {Rule::grant_no_domain,
       {GrantPurpose::copy_to, GNTST_bad_domain,
        [](GrantScene& s) { return s.copy(GNTCOPY_dest_gref, s.own(3), s.granted(7, 9)); }}},
      {Rule::grant_no_domain,
       {GrantPurpose::transfer, GNTST_bad_domain, [](GrantScene& s) { return s.one.transfer(3, 7, 9); }}},
      {Rule::grant_no_entry,
       {GrantPurpose::map, GNTST_bad_gntref, [](GrantScene& s) { return s.one.map(2, 512).status; }}},
      {Rule::grant_no_entry,
       {GrantPurpose::copy_from, GNTST_bad_gntref,
        [](GrantScene& s) { return s.copy_of(s.granted(2, 512), GNTCOPY_source_gref); }}},
      {Rule::grant_not_granted,
       {GrantPurpose::map, GNTST_general_error, [](GrantScene& s) { return s.one.map(2, 9).status; }}},
      {Rule::grant_not_granted,
       {GrantPurpose::copy_to, GNTST_general_error,
        [](GrantScene& s) {
          s.two.grant(9, read_only, 1, 7);
          return s.copy(GNTCOPY_dest_gref, s.own(3), s.granted(2, 9));
        }}},
      // That the entry's changes lead to it is shown by concurrency.devices.ChangingEntry.
      {Rule::grant_entry_changes,
       {GrantPurpose::map, GNTST_general_error,
        [](GrantScene& s) {
          s.two.grant(9, plain, 1, 7);
          s.two.target.hold_error = Errno::eagain;
          return s.one.map(2, 9).status;
        }}},
      {Rule::grant_foreign_frame,
       {GrantPurpose::map, GNTST_bad_page,
        [](GrantScene& s) {
          s.two.grant(9, plain, 1, FakeGrantTarget::frame_count);
          return s.one.map(2, 9).status;
        }}},
      {Rule::grant_foreign_frame,
       {GrantPurpose::copy_from, GNTST_bad_page,
        [](GrantScene& s) { return s.copy_of(s.own(FakeGrantTarget::frame_count)); }}},
      {Rule::grant_frame_in_use,
       {GrantPurpose::map, GNTST_general_error,
        [](GrantScene& s) {
          s.two.grant(9, plain, 1, FakeGrantTarget::first_table);
          return s.one.map(2, 9).status;
        }}},
      {Rule::grant_frame_in_use,
       {GrantPurpose::copy_to, GNTST_general_error,
        [](GrantScene& s) { return s.copy(0, s.own(3), s.own(FakeGrantTarget::first_table)); }}},
      {Rule::grant_not_by_number,
       {GrantPurpose::copy_from, GNTST_permission_denied,
        [](GrantScene& s) {
          auto theirs = s.own(7);
          theirs.domid = 2;
          return s.copy_of(theirs);
        }}},
      {Rule::grant_not_by_number,
       {GrantPurpose::copy_to, GNTST_permission_denied,
        [](GrantScene& s) {
          auto theirs = s.own(7);
          theirs.domid = 2;
          return s.copy(0, s.own(3), theirs);
        }}},
      {Rule::grant_past_page,
       {GrantPurpose::copy_from, GNTST_bad_copy_arg,
        [](GrantScene& s) { return s.copy(0, s.own(3, 4090), s.own(4)); }}},
      {Rule::grant_past_page,
       {GrantPurpose::copy_to, GNTST_bad_copy_arg,
        [](GrantScene& s) { return s.copy(0, s.own(3), s.own(4, 4090)); }}},
      {Rule::grant_maps_nowhere,
       {GrantPurpose::map, GNTST_bad_gntref, [](GrantScene& s) { return s.one.map(2, 9, 0).status; }}},
      {Rule::grant_no_handle,
       {GrantPurpose::map, GNTST_no_space,
        [](GrantScene& s) {
          s.two.grant(9, plain, 1, 7);
          std::int16_t status = GNTST_okay;
          for (int i = 0; i < 1000 && status == GNTST_okay; ++i)
            status = s.one.map(2, 9, GNTMAP_device_map).status;
          s.one.target.told = {s.one.target.told.back()};
          return status;
        }}},
      {Rule::grant_unknown_handle,
       {GrantPurpose::unmap, GNTST_bad_handle, [](GrantScene& s) { return s.one.unmap(77); }}},
      {Rule::grant_other_address,
       {GrantPurpose::unmap, GNTST_bad_dev_addr,
        [](GrantScene& s) {
          s.two.grant(9, plain, 1, 7);
          const auto handle = s.one.map(2, 9, GNTMAP_device_map).handle;
          s.one.target.told.clear();
          return s.one.unmap(handle, 0, 0x8000);
        }}},
      {Rule::grant_not_accepted,
       {GrantPurpose::transfer, GNTST_general_error, [](GrantScene& s) { return s.one.transfer(3, 2, 9); }}},
      {Rule::grant_not_accepted,
       {GrantPurpose::transfer, GNTST_general_error, [](GrantScene& s) { return s.one.transfer(3, 1, 9); }}},
  };
  return all;
}

/// The test of one rule, named after it as in docs/rules.md.
class OneGrantRule : public testing::Test {
 public:
  explicit OneGrantRule(Rule rule) : rule_(rule) {}
  void TestBody() override {
    const auto [begin, end] = provocations().equal_range(rule_);
    ASSERT_NE(begin, end) << "nothing here provokes " << info(rule_).name;
    for (auto it = begin; it != end; ++it) {
      GrantScene scene;
      EXPECT_EQ(it->second.provoke(scene), it->second.status);
      ASSERT_EQ(scene.one.target.told.size(), 1U);
      const vmm::GrantAttempt& told = scene.one.target.told.front();
      ASSERT_TRUE(told.refused.has_value());
      EXPECT_EQ(info(*told.refused).name, info(rule_).name);
      EXPECT_EQ(name(told.purpose), name(it->second.purpose));
      EXPECT_TRUE(scene.two.target.told.empty());
    }
  }

 private:
  Rule rule_;
};

[[maybe_unused]] const bool registered = [] {
  for (std::size_t i = 0; i < pvmmu::rules.size(); ++i)
    if (is_of_grants(pvmmu::rules[i]))
      testing::RegisterTest("GrantRule", pvmmu::test::test_of(pvmmu::rules[i]).c_str(), nullptr, nullptr,
                            __FILE__, __LINE__,
                            [i]() -> OneGrantRule* { return new OneGrantRule(static_cast<Rule>(i)); });
  return true;
}();

bool is_about(const vmm::GrantAttempt& told, GrantPurpose purpose, GrantName grant, Mfn frame,
              std::uint64_t argument) {
  return told.purpose == purpose && told.grant == grant && told.frame == frame && told.argument == argument &&
         !told.refused;
}

TEST_F(GrantNeighbour, tells_of_what_was_copied_for_each_end_that_is_a_grant) {
  two.grant(9, plain, 1, 7);
  one.grant(5, plain, 1, 8);
  EXPECT_EQ(copy(GNTCOPY_source_gref | GNTCOPY_dest_gref, granted(2, 9), granted(DOMID_SELF, 5), 64),
            GNTST_okay);
  ASSERT_EQ(one.target.told.size(), 2U);
  EXPECT_TRUE(is_about(one.target.told[0], GrantPurpose::copy_from, {DomId(2), GrantRef(9)}, Mfn(7), 64));
  EXPECT_TRUE(is_about(one.target.told[1], GrantPurpose::copy_to, {DomId(1), GrantRef(5)}, Mfn(8), 64));
  EXPECT_EQ(copy(0, own(3), own(4)), GNTST_okay);
  EXPECT_EQ(one.target.told.size(), 2U);
}

TEST_F(GrantNeighbour, tells_of_a_grant_of_its_own_by_its_number) {
  EXPECT_EQ(copy(GNTCOPY_source_gref, granted(DOMID_SELF, 5), own(3)), GNTST_general_error);
  ASSERT_EQ(one.target.told.size(), 1U);
  EXPECT_EQ(one.target.told[0].grant, GrantName(DomId(1), GrantRef(5)));
}

TEST_F(GrantNeighbour, tells_of_a_map_only_if_no_entry_of_a_table_does) {
  two.grant(9, plain, 1, 7);
  EXPECT_EQ(one.map(2, 9).status, GNTST_okay);
  EXPECT_TRUE(one.target.told.empty());
  EXPECT_EQ(one.map(2, 9, GNTMAP_device_map).status, GNTST_okay);
  ASSERT_EQ(one.target.told.size(), 1U);
  EXPECT_TRUE(is_about(one.target.told[0], GrantPurpose::map, {DomId(2), GrantRef(9)}, Mfn(7), 0));
}

TEST_F(GrantNeighbour, tells_of_a_transfer) {
  for (Neighbour* to : {&two, &one}) {
    to->grant(9, GTF_accept_transfer, 1, 20);
    EXPECT_EQ(one.transfer(3, to->id, 9), GNTST_okay);
    ASSERT_EQ(one.target.told.size(), 1U);
    EXPECT_TRUE(
        is_about(one.target.told[0], GrantPurpose::transfer, {DomId(to->id), GrantRef(9)}, Mfn(3), 0));
    one.target.told.clear();
  }
}

}  // namespace
}  // namespace pinfold::devices
