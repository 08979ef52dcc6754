#include "devices/granted_page.hpp"

#include <gtest/gtest.h>

#include <optional>

#include "granting_guest.hpp"

namespace pinfold::devices {
namespace {

constexpr unsigned plain = GTF_permit_access, read_only = GTF_permit_access | GTF_readonly;

struct GrantedPages : testing::Test {
  tl::expected<GrantedPage, Errno> use(std::uint32_t ref, GrantUse use) {
    return access.use(GrantRef(ref), use);
  }

  GrantingGuest guest;
  GrantAccess access = guest.access();
};

TEST_F(GrantedPages, a_use_marks_the_grant_and_holds_the_frame_until_it_ends) {
  guest.grant(9, 7);
  auto writing = use(9, GrantUse::write);
  ASSERT_TRUE(writing);
  EXPECT_EQ(guest.flags(9), plain | GTF_reading | GTF_writing);
  EXPECT_EQ(guest.users_of(7), 1u);
  EXPECT_FALSE(guest.revoke(9));
  *writing = GrantedPage();
  EXPECT_EQ(guest.flags(9), plain);
  EXPECT_EQ(guest.users_of(7), 0u);
  EXPECT_TRUE(guest.revoke(9));
}

TEST_F(GrantedPages, uses_of_one_grant_are_counted) {
  guest.grant(9, 7);
  std::optional<GrantedPage> first = *use(9, GrantUse::write), second = *use(9, GrantUse::write);
  std::optional<GrantedPage> reading = *use(9, GrantUse::read);
  EXPECT_EQ(guest.users_of(7), 3u);
  first.reset();
  EXPECT_EQ(guest.flags(9), plain | GTF_reading | GTF_writing);
  second.reset();
  EXPECT_EQ(guest.flags(9), plain | GTF_reading) << "a reader is left";
  reading.reset();
  EXPECT_EQ(guest.flags(9), plain);
}

TEST_F(GrantedPages, a_use_for_reading_does_not_claim_to_write) {
  guest.grant(9, 7, read_only);
  guest.frame(7).store(16, std::uint32_t{0x1234});
  const auto page = use(9, GrantUse::read);
  ASSERT_TRUE(page);
  EXPECT_EQ(guest.flags(9), read_only | GTF_reading);
  std::uint32_t copy = 0;
  page->copy_out(16, std::as_writable_bytes(std::span(&copy, 1)));
  EXPECT_EQ(copy, 0x1234u);
}

TEST_F(GrantedPages, what_is_not_granted_is_neither_held_nor_marked) {
  guest.grant(9, 7, read_only);
  guest.grant(10, 7, GTF_accept_transfer);
  guest.grant(11, 7, plain, 3);
  guest.grant(12, FakeTarget::frame_count);
  EXPECT_EQ(use(9, GrantUse::write).error(), Errno::eperm);
  EXPECT_EQ(use(10, GrantUse::read).error(), Errno::eperm);
  EXPECT_EQ(use(11, GrantUse::read).error(), Errno::eperm);
  EXPECT_EQ(use(12, GrantUse::read).error(), Errno::einval) << "not a frame of the guest's";
  EXPECT_EQ(use(13, GrantUse::read).error(), Errno::eperm);
  EXPECT_EQ(use(0xffffffff, GrantUse::read).error(), Errno::erange);
  EXPECT_EQ(guest.flags(9), read_only);
  EXPECT_EQ(guest.flags(12), plain);
  EXPECT_EQ(guest.target.frames_held(), 0u);
}

TEST_F(GrantedPages, a_use_keeps_its_frame_whatever_the_guest_writes_into_the_table) {
  guest.grant(9, 7);
  auto page = use(9, GrantUse::write);
  ASSERT_TRUE(page);
  guest.grant(9, 8, 0);
  page->shared().store(0, std::uint32_t{5});
  EXPECT_EQ(guest.frame(7).load<std::uint32_t>(0), 5u);
  EXPECT_EQ(guest.frame(8).load<std::uint32_t>(0), 0u);
  {
    const auto again = use(9, GrantUse::read);
    ASSERT_TRUE(again) << "the grant is in use, and so is its frame";
    EXPECT_EQ(again->frame(), Mfn(7));
  }
  *page = GrantedPage();
  EXPECT_EQ(guest.users_of(7), 0u);
  EXPECT_FALSE(use(9, GrantUse::read)) << "the entry grants nothing now";
}

TEST_F(GrantedPages, an_area_is_the_part_of_the_page_that_was_asked_for) {
  guest.grant(9, 7);
  const auto page = use(9, GrantUse::write);
  const auto area = page->area(512, 1024);
  ASSERT_TRUE(area);
  EXPECT_EQ(area->iov_len, 1024u);
  guest.frame(7).store(512, std::uint32_t{0xabcd});
  std::uint32_t there = 0;
  std::memcpy(&there, area->iov_base, sizeof there);
  EXPECT_EQ(there, 0xabcdu);
}

TEST_F(GrantedPages, a_use_that_moves_ends_once) {
  guest.grant(9, 7);
  auto page = use(9, GrantUse::write);
  GrantedPage moved = std::move(*page);
  *page = GrantedPage();
  EXPECT_EQ(guest.flags(9), plain | GTF_reading | GTF_writing);
  EXPECT_TRUE(moved.present());
  moved = GrantedPage();
  EXPECT_EQ(guest.flags(9), plain);
}

}  // namespace
}  // namespace pinfold::devices
