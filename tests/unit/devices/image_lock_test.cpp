// Locks that other programs see: two of ours, and QEMU's tools.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <thread>

#include "devices/block/image_lock.hpp"
#include "image_files.hpp"

namespace pinfold::devices::block {
namespace {

using testing::HasSubstr;

class ImageLockTest : public testing::Test {
 protected:
  [[nodiscard]] std::string open(bool read_only) {
    auto opened = open_raw_image(image, {.read_only = read_only, .lock_patience = {}});
    if (!opened) return opened.error();
    held.push_back(std::move(opened->image));
    return "opened";
  }

  TemporaryFolder folder;
  std::filesystem::path image = folder.image(1 << 20);
  std::vector<std::unique_ptr<Image>> held;
};

TEST_F(ImageLockTest, a_writer_is_alone) {
  EXPECT_EQ(open(false), "opened");
  EXPECT_THAT(open(false),
              HasSubstr("locked by another program (unit_devices, process " + std::to_string(::getpid()) +
                        "): end it, or attach the image read-only to both"));
  EXPECT_THAT(open(true), HasSubstr("end it, or let it open the image read-only, too"));
  held.clear();
  EXPECT_EQ(open(true), "opened");
}

TEST_F(ImageLockTest, readers_share_and_keep_writers_out) {
  EXPECT_EQ(open(true), "opened");
  EXPECT_EQ(open(true), "opened");
  EXPECT_THAT(open(false), HasSubstr("locked by another program"));
}

TEST_F(ImageLockTest, a_failed_try_leaves_no_lock) {
  EXPECT_EQ(open(true), "opened");
  EXPECT_NE(open(false), "opened");
  EXPECT_EQ(open(true), "opened");
}

TEST_F(ImageLockTest, a_program_that_is_about_to_end_is_waited_for) {
  EXPECT_EQ(open(false), "opened");
  std::thread ending([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    held.erase(held.begin());
  });
  auto next = open_raw_image(image, {});
  ending.join();
  EXPECT_TRUE(next) << next.error();
}

TEST_F(ImageLockTest, locks_end_with_the_image_though_its_ring_lingers) {
  for (int i = 0; i < 20; ++i) {
    auto opened = open_raw_image(image, {});
    ASSERT_TRUE(opened) << opened.error();
    auto queue = opened->image->make_queue(4);
    ASSERT_TRUE(queue) << queue.error();
    Memory memory(4096);
    EXPECT_EQ(run(**queue, Operation::read, 0, memory.pieces(4096)), 0);
    queue->reset();
    opened->image.reset();
    const vmm::Fd other(::open(image.c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_EQ(lock_image(other.get(), false, {}), LockResult::locked) << i;
  }
}

/// qemu-io(1) on the image; what it says.
class QemuIo : public ImageLockTest {
 protected:
  void SetUp() override {
    if (std::system("command -v qemu-io >/dev/null") != 0) GTEST_SKIP() << "no qemu-io (Debian's qemu-utils)";
  }
  [[nodiscard]] std::string qemu_io(const std::string& words) const {
    FILE* const pipe = ::popen(("qemu-io -f raw " + words + " " + image.string() + " 2>&1").c_str(), "r");
    std::string said;
    std::array<char, 256> part;
    while (std::fgets(part.data(), part.size(), pipe)) said += part.data();
    ::pclose(pipe);
    return said;
  }
};

TEST_F(QemuIo, may_not_write_what_a_guest_of_ours_uses) {
  EXPECT_EQ(open(false), "opened");
  EXPECT_THAT(qemu_io("-c 'write 0 4k'"), HasSubstr("Failed to get"));
  held.clear();
  EXPECT_THAT(qemu_io("-c 'write 0 4k'"), HasSubstr("wrote 4096"));
}

TEST_F(QemuIo, may_read_and_not_write_what_we_only_read) {
  EXPECT_EQ(open(true), "opened");
  EXPECT_THAT(qemu_io("-c 'write 0 4k'"), HasSubstr("Failed to get"));
  EXPECT_THAT(qemu_io("-r -c 'read 0 4k'"), HasSubstr("read 4096"));
}

TEST_F(QemuIo, keeps_us_out_while_it_writes) {
  FILE* const qemu = ::popen(("qemu-io -f raw -c 'sleep 2000' " + image.string()).c_str(), "r");
  const vmm::Fd ours(::open(image.c_str(), O_RDONLY | O_CLOEXEC));
  for (int i = 0; i < 500 && !lock_holder(ours.get()); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const std::string writing = open(false);
  const std::string reading = open(true);
  ::pclose(qemu);
  EXPECT_THAT(writing,
              testing::ContainsRegex("locked by another program \\(qemu-io, process [0-9]+\\): end it"));
  EXPECT_THAT(reading, HasSubstr("locked by another program (qemu-io"));
  EXPECT_EQ(open(false), "opened");
}

}  // namespace
}  // namespace pinfold::devices::block
