// Which guests can't be in one machine, and what is said about it.
#include "cli/supervisor/neighbours.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace pinfold::cli::test {
namespace {

RunOptions guest(const std::string& name) {
  RunOptions options;
  options.guest.name = name;
  options.guest = completed(options.guest).value();
  return options;
}

std::string said_of(const MachineOptions& guests) { return objection_to_neighbours(guests).value_or(""); }

TEST(Neighbours, that_have_nothing_in_common_share_a_machine) {
  EXPECT_EQ(said_of({guest("a"), guest("b")}), "");
}

TEST(Neighbours, have_a_name_a_uuid_and_a_mac_address_of_their_own) {
  EXPECT_EQ(said_of({guest("a"), guest("b"), guest("a")}), "two guests have the name a");
  auto one = guest("a"), two = guest("b");
  two.guest.uuid = one.guest.uuid;
  EXPECT_EQ(said_of({one, two}), "a and b have the same UUID: " + *one.guest.uuid);
  two = guest("b");
  one.guest.vifs.emplace_back().mac = two.guest.vifs.emplace_back().mac = "00:16:3e:00:00:01";
  EXPECT_EQ(said_of({one, two}), "a and b have the same MAC address: 00:16:3e:00:00:01");
}

TEST(Neighbours, write_no_disk_that_another_one_has) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("pinfold-disks-" + std::to_string(::getpid()));
  std::filesystem::create_directory(folder);
  std::ofstream(folder / "disk") << "x";
  std::filesystem::create_symlink(folder / "disk", folder / "link");
  auto one = guest("a"), two = guest("b");
  one.guest.disks.emplace_back().target = folder / "disk";
  two.guest.disks.emplace_back().target = folder / "link";
  two.guest.disks.back().read_only = true;
  EXPECT_EQ(said_of({one, two}),
            "a and b have the same disk, which one of them writes: " + (folder / "link").string());
  one.guest.disks.back().read_only = true;
  EXPECT_EQ(said_of({one, two}), "");
  std::filesystem::remove_all(folder);
}

TEST(Neighbours, that_serve_devices_come_before_those_who_have_them) {
  auto back = guest("back"), front = guest("front");
  front.guest.disks.emplace_back().vdev = "xvda";
  front.guest.disks[0].backend = "back";
  EXPECT_EQ(said_of({back, front}), "");
  EXPECT_TRUE(said_of({front, back}).starts_with("front: disk xvda: backend=back: no guest of this name"))
      << said_of({front, back});
  EXPECT_TRUE(said_of({front}).starts_with("disk xvda: backend=back: no guest"));
  EXPECT_TRUE(said_of({guest("first"), front, back}).starts_with("front: disk xvda: backend=back: no guest"));
  front.guest.disks[0].backend = "front";
  EXPECT_TRUE(said_of({front}).starts_with("disk xvda: backend=front: no guest")) << "it can't serve itself";
  front.guest.disks.clear();
  front.guest.vifs.resize(2);
  front.guest.vifs[1].backend = "other";
  EXPECT_TRUE(said_of({back, front}).starts_with("front: vif 1: backend=other: no guest"));
}

TEST(Neighbours, have_disks_of_a_driver_domain_by_any_path) {
  auto back = guest("back"), one = guest("a"), two = guest("b");
  for (auto* const options : {&one, &two}) {
    options->guest.disks.emplace_back().target = "/bin/sh";  // a file of this host
    options->guest.disks.back().backend = "back";
  }
  EXPECT_EQ(said_of({back, one, two}), "");
}

TEST(Neighbours, write_no_disk_of_a_server_that_another_one_has) {
  auto one = guest("a"), two = guest("b");
  one.guest.disks.emplace_back().target = two.guest.disks.emplace_back().target = "nbd://storage/web";
  EXPECT_EQ(said_of({one, two}), "a and b have the same disk, which one of them writes: nbd://storage/web");
  two.guest.disks.back().target = "nbd://storage/db";
  EXPECT_EQ(said_of({one, two}), "");
}

TEST(Neighbours, are_not_renamed_when_they_end) {
  auto one = guest("a");
  one.guest.on_crash = EndAction::rename_restart;
  EXPECT_EQ(said_of({one, guest("b")}),
            "a: rename-restart is for a guest that is alone in its machine; use preserve");
  EXPECT_EQ(said_of({one}), "");
}

TEST(Neighbours, are_not_more_than_a_machine_takes) {
  MachineOptions guests;
  for (std::size_t n = 0; n < most_guests_of_a_machine; ++n) guests.push_back(guest("g" + std::to_string(n)));
  EXPECT_EQ(said_of(guests), "");
  guests.push_back(guest("one-more"));
  EXPECT_EQ(said_of(guests), "a machine has at most 16 guests");
}

}  // namespace
}  // namespace pinfold::cli::test
