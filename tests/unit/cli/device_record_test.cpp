// What commands write down about a guest's devices, and the configuration of its next life.
#include "cli/hotplug/device_record.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "cli/config/device_texts.hpp"
#include "cli/supervisor/changed_devices.hpp"

namespace pinfold::cli {
namespace {

DeviceChange with(std::string text) { return {std::move(text), {}, {}}; }

GuestConfig guest() {
  GuestConfig config;
  for (const char* vdev : {"xvda", "xvdb"}) {
    DiskConfig& disk = config.disks.emplace_back();
    disk.target = std::string("/images/") + vdev;
    disk.vdev = vdev;
  }
  for (const char* mac : {"00:16:3e:00:00:01", "00:16:3e:00:00:02"}) config.vifs.emplace_back().mac = mac;
  return config;
}

TEST(ChangedDevices, a_disk_becomes_a_text_and_the_same_disk_again) {
  std::vector<DiskConfig> disks(5);
  for (DiskConfig& disk : disks) {
    disk.target = "/images/a, with commas,raw";
    disk.vdev = "xvdb";
  }
  disks[1].format = DiskFormat::vmdk;
  disks[1].discard = false;
  disks[2].direct_io = true;
  disks[3].target = "nbd+unix:///web?socket=/run/web";
  disks[3].read_only = disks[3].cdrom = true;
  disks[3].discard = false;
  disks[4].target.clear();
  disks[4].read_only = disks[4].cdrom = true;
  disks[4].discard = false;
  for (const DiskConfig& disk : disks) {
    const std::string text = text_of(disk);
    const auto read = read_disk(text);
    ASSERT_TRUE(read) << text;
    const DiskConfig& same = read->config;
    EXPECT_EQ(same.target, disk.target);
    EXPECT_EQ(same.format, disk.format) << text;
    EXPECT_EQ(same.vdev, disk.vdev);
    EXPECT_EQ(std::tie(same.read_only, same.cdrom, same.discard, same.direct_io),
              std::tie(disk.read_only, disk.cdrom, disk.discard, disk.direct_io))
        << text;
  }
}

TEST(ChangedDevices, a_disk_takes_the_place_of_its_number_or_comes_last) {
  DeviceChanges changes;
  changes[{"vbd", 51712}] = with("/other,raw,xvda,r");  // xvda (xen-vbd-interface(7))
  changes[{"vbd", 51728}] = {};                         // xvdb
  changes[{"vbd", 51744}] = with("/third,raw,xvdc,rw");
  changes[{"vbd", 51744}].allowed_images = {"/base"};
  const auto config = with_changes(guest(), changes);
  ASSERT_TRUE(config) << config.error();
  ASSERT_EQ(config->disks.size(), 2u);
  EXPECT_EQ(config->disks[0].target, "/other");
  EXPECT_EQ(config->disks[1].vdev, "xvdc");
  EXPECT_EQ(config->allowed_images, std::vector<std::string>{"/base"});
}

TEST(ChangedDevices, an_interface_keeps_its_number_when_another_goes) {
  DeviceChanges changes;
  changes[{"vif", 0}] = {};
  changes[{"vif", 5}] = with("net=passt,mac=00:16:3e:00:00:05");
  const auto config = with_changes(guest(), changes);
  ASSERT_TRUE(config) << config.error();
  ASSERT_EQ(config->vifs.size(), 2u);
  EXPECT_EQ(config->vifs[0].number, 1u);
  EXPECT_EQ(config->vifs[0].mac, "00:16:3e:00:00:02");
  EXPECT_EQ(config->vifs[1].number, 5u);
}

TEST(ChangedDevices, a_text_that_is_none_is_an_error_with_the_device) {
  DeviceChanges changes;
  changes[{"vbd", 51728}] = with("nonsense");
  const auto config = with_changes(guest(), changes);
  ASSERT_FALSE(config);
  EXPECT_NE(config.error().find("disk 51728, which was attached"), std::string::npos) << config.error();
}

TEST(KeeperNotes, wait_for_the_process_that_was_meant_and_for_no_other) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  KeeperNote note = KeeperNote::of(child);
  EXPECT_FALSE(note.wait(20));
  ++note.begun;
  EXPECT_TRUE(note.wait(20)) << "another process has the number";
  --note.begun;
  ::kill(child, SIGKILL);
  EXPECT_TRUE(note.wait(10'000));
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(note.wait(20));
  EXPECT_TRUE(KeeperNote{}.wait(20)) << "no keeper";
}

}  // namespace
}  // namespace pinfold::cli
