// No two interfaces of a machine have the same MAC address.
#include "cli/hotplug/mac_addresses.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

namespace pinfold::cli {
namespace {

constexpr DomId web{1}, db{2};

/// A guest whose interface 3 has the address `mac`.
MacAddresses::Has with(const std::string& mac) {
  return [mac](const std::string& asked) {
    return asked == mac ? std::optional<std::uint32_t>(3) : std::nullopt;
  };
}

struct TwoGuests : testing::Test {
  TwoGuests() {
    EXPECT_TRUE(macs.enter(web, "web", {"a"}, with("a")));
    EXPECT_TRUE(macs.enter(db, "db", {}, with("b")));
  }
  std::string said_of(DomId guest, const std::string& mac) {
    bool added = false;
    const auto done = macs.take(guest, mac, [&]() -> MacAddresses::Done {
      added = true;
      return {};
    });
    EXPECT_EQ(done.has_value(), added);
    return done ? "" : done.error();
  }
  MacAddresses macs;
};

TEST_F(TwoGuests, get_an_address_that_nobody_has) { EXPECT_EQ(said_of(web, "c"), ""); }

TEST_F(TwoGuests, do_not_get_what_a_neighbour_has) {
  EXPECT_EQ(said_of(db, "a"), "interface 3 of web has the address a already");
}

TEST_F(TwoGuests, do_not_get_their_own_a_second_time) {
  EXPECT_EQ(said_of(db, "b"), "interface 3 has the address b already");
}

TEST_F(TwoGuests, get_what_a_guest_had_that_is_gone) {
  macs.leave(web);
  EXPECT_EQ(said_of(db, "a"), "");
}

TEST_F(TwoGuests, are_not_joined_by_one_with_an_address_of_theirs) {
  const auto entered = macs.enter(DomId(3), "new", {"c", "b"}, with("c"));
  ASSERT_FALSE(entered);
  EXPECT_EQ(entered.error(), "interface 3 of db has the address b already");
  EXPECT_EQ(said_of(web, "c"), "") << "it is not there";
}

TEST_F(TwoGuests, hear_of_what_went_wrong_with_the_device) {
  const auto done =
      macs.take(web, "c", []() -> MacAddresses::Done { return tl::unexpected(std::string("no room")); });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error(), "no room");
}

TEST(MacAddresses, two_that_want_the_same_at_once_do_not_both_get_it) {
  MacAddresses macs;
  struct Guest {
    std::mutex mutex;
    std::set<std::string> has;
  };
  std::array<Guest, 2> guests;
  for (std::uint16_t i = 0; i < 2; ++i)
    ASSERT_TRUE(macs.enter(DomId(i), "g", {},
                           [&of = guests[i]](const std::string& mac) -> std::optional<std::uint32_t> {
                             const std::lock_guard lock(of.mutex);
                             return of.has.contains(mac) ? std::optional<std::uint32_t>(0) : std::nullopt;
                           }));
  std::atomic<int> got = 0;
  constexpr int addresses = 2000;
  std::array<std::thread, 2> threads;
  for (std::uint16_t i = 0; i < 2; ++i)
    threads[i] = std::thread([&, i] {
      for (int n = 0; n < addresses; ++n) {
        const std::string mac = std::to_string(n);
        if (macs.take(DomId(i), mac, [&]() -> MacAddresses::Done {
              const std::lock_guard lock(guests[i].mutex);
              guests[i].has.insert(mac);
              return {};
            }))
          ++got;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(got, addresses);
}

}  // namespace
}  // namespace pinfold::cli
