// Block devices: a loop device of the test's own. Skipped without the right to make one.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "image_files.hpp"

namespace pinfold::devices::block {
namespace {

using testing::HasSubstr;

class BlockDeviceTest : public testing::TestWithParam<Engine> {
 protected:
  void make_device(std::uint32_t sector_bytes) {
    const vmm::Fd file(::open(folder.image(1 << 20).c_str(), O_RDWR | O_CLOEXEC));
    // Another test may take the device that was free.
    for (int i = 0; i < 20 && !made; ++i) made = configure_free_device(file.get(), sector_bytes);
    if (!made) GTEST_SKIP() << "no loop device for this user";
  }
  bool configure_free_device(int file, std::uint32_t sector_bytes) {
    const vmm::Fd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    const int number = control.open() ? ::ioctl(control.get(), LOOP_CTL_GET_FREE) : -1;
    path = "/dev/loop" + std::to_string(number);
    device = vmm::Fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    loop_config config = {};
    config.fd = static_cast<std::uint32_t>(file);
    config.block_size = sector_bytes;
    return device.open() && ::ioctl(device.get(), LOOP_CONFIGURE, &config) == 0;
  }
  void TearDown() override {
    if (made) ::ioctl(device.get(), LOOP_CLR_FD, 0);
  }
  void use(RawImageOptions options) {
    options.engine = GetParam();
    auto opened = open_raw_image(path, options);
    ASSERT_TRUE(opened) << opened.error();
    image = std::move(opened->image);
    notices = opened->notices;
    queue = *image->make_queue(8);
  }

  TemporaryFolder folder;
  std::string path;
  vmm::Fd device;
  bool made = false;
  std::vector<std::string> notices;
  std::unique_ptr<Image> image;
  std::unique_ptr<TransferQueue> queue;
};

TEST_P(BlockDeviceTest, is_written_flushed_discarded_and_read) {
  make_device(512);
  if (!made) return;
  ASSERT_NO_FATAL_FAILURE(use({}));
  EXPECT_EQ(image->geometry().sectors, 2048U);
  EXPECT_TRUE(image->geometry().can_discard);
  Memory out(65536), in(65536);
  out.fill(1);
  EXPECT_EQ(run(*queue, Operation::write, 65536, out.pieces(512)), 0);
  EXPECT_EQ(run(*queue, {Operation::flush, 0, 0, {}, 1}), 0);
  EXPECT_EQ(run(*queue, Operation::read, 65536, in.pieces(4096)), 0);
  EXPECT_EQ(in.text(), out.text());
  std::ifstream backing(folder.path() / "disk.img");
  backing.seekg(65536);
  std::string flushed(65536, '\0');
  backing.read(flushed.data(), 65536);
  EXPECT_EQ(flushed, out.text());  // Past the device's own page cache.
  EXPECT_EQ(run(*queue, {Operation::discard, 65536, 65536, {}, 1}), 0);
  EXPECT_EQ(run(*queue, Operation::read, 65536, in.pieces(4096)), 0);
  EXPECT_EQ(in.text(), std::string(65536, '\0'));
}

TEST_P(BlockDeviceTest, has_the_sectors_of_the_device_and_bounces_smaller_pieces) {
  make_device(4096);
  if (!made) return;
  for (const bool direct : {false, true}) {
    queue.reset();
    image.reset();
    ASSERT_NO_FATAL_FAILURE(use({.direct_io = direct}));
    EXPECT_EQ(image->geometry().logical_sector_bytes, 4096U);
    EXPECT_EQ(image->geometry().sectors, 2048U);
    Memory out(65536, 512), in(65536, 512);
    out.fill(direct ? 2 : 3);
    EXPECT_EQ(run(*queue, Operation::write, 4096, out.pieces(512)), 0);
    EXPECT_EQ(run(*queue, Operation::read, 4096, in.pieces(1536)), 0);
    EXPECT_EQ(in.text(), out.text());
    EXPECT_EQ(run(*queue, Operation::read, 512, in.pieces(4096)), EINVAL);
  }
}

TEST_P(BlockDeviceTest, that_is_mounted_is_refused_for_writing) {
  make_device(512);
  if (!made) return;
  const vmm::Fd mounted(::open(path.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));  // As mount(2) claims it.
  ASSERT_TRUE(mounted.open());
  const auto opened = open_raw_image(path, {.engine = GetParam(), .lock_patience = {}});
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error(), HasSubstr("the host uses it (mounted, or part of an array); unmount it"));
  ASSERT_NO_FATAL_FAILURE(use({.read_only = true}));
}

INSTANTIATE_TEST_SUITE_P(Engines, BlockDeviceTest, testing::Values(Engine::io_uring, Engine::threads),
                         [](const auto& engine) {
                           return engine.param == Engine::io_uring ? "io_uring" : "threads";
                         });

}  // namespace
}  // namespace pinfold::devices::block
