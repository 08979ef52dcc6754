// Trouble with an image is one line that says what to do, before the guest starts.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <thread>

#include "devices/block/format_hint.hpp"
#include "devices/block/restricted_ring.hpp"
#include "image_files.hpp"

namespace pinfold::devices::block {
namespace {

using testing::ContainsRegex;
using testing::ElementsAre;
using testing::HasSubstr;

/// The error of an image that can't be opened, which must be one line that begins with its name.
std::string error_of(const std::filesystem::path& path, const RawImageOptions& options = {}) {
  const auto opened = open_raw_image(path, options);
  if (opened) return "";
  EXPECT_EQ(opened.error().find('\n'), std::string::npos) << opened.error();
  EXPECT_THAT(opened.error(), testing::StartsWith("disk " + path.string() + ": "));
  return opened.error();
}

class OpenImageTest : public testing::Test {
 protected:
  TemporaryFolder folder;
};

TEST_F(OpenImageTest, a_sound_image_is_opened_without_a_notice) {
  const auto opened = open_raw_image(folder.image(1 << 20), {});
  ASSERT_TRUE(opened) << opened.error();
  EXPECT_THAT(opened->notices, ElementsAre());
  const Geometry is = opened->image->geometry();
  EXPECT_EQ(is.sectors, 2048U);
  EXPECT_EQ(is.logical_sector_bytes, 512U);
  EXPECT_FALSE(is.read_only);
  EXPECT_TRUE(is.can_flush);
}

TEST_F(OpenImageTest, an_image_grows_and_never_shrinks) {
  const auto path = folder.image(1 << 20);
  const auto opened = open_raw_image(path, {});
  ASSERT_TRUE(opened) << opened.error();
  Image& image = *opened->image;
  EXPECT_EQ(image.grow(2 << 20), 4096U);
  EXPECT_EQ(std::filesystem::file_size(path), std::uintmax_t{2 << 20});
  EXPECT_EQ(image.grow(2 << 20), 4096U) << "as long as it is";
  EXPECT_THAT(image.grow((2 << 20) - 512).error(), HasSubstr("never made shorter"));
  EXPECT_THAT(image.grow((2 << 20) + 100).error(), HasSubstr("multiple of 512"));
  EXPECT_FALSE(image.grow(1ULL << 63));
  EXPECT_EQ(std::filesystem::file_size(path), std::uintmax_t{2 << 20});
  std::filesystem::resize_file(path, (3 << 20) + 100);
  EXPECT_EQ(image.grow(std::nullopt), 6144U) << "whole sectors";
  EXPECT_EQ(image.geometry().sectors, 6144U);
  std::filesystem::resize_file(path, 1 << 20);
  EXPECT_THAT(image.grow(std::nullopt).error(), HasSubstr("shorter than it was"));
  EXPECT_EQ(image.geometry().sectors, 6144U);
}

TEST_F(OpenImageTest, an_image_for_reading_grows_only_by_others) {
  const auto path = folder.image(1 << 20);
  const auto opened = open_raw_image(path, {.read_only = true});
  ASSERT_TRUE(opened) << opened.error();
  EXPECT_THAT(opened->image->grow(2 << 20).error(), HasSubstr("read-only"));
  std::filesystem::resize_file(path, 2 << 20);
  EXPECT_EQ(opened->image->grow(std::nullopt), 4096U);
}

TEST_F(OpenImageTest, a_missing_file_is_said_to_be_missing) {
  EXPECT_THAT(error_of(folder.path() / "no.img"),
              HasSubstr("there is no such file; correct the path, or make"));
  EXPECT_THAT(error_of(folder.path() / "no" / "no.img"), ContainsRegex("there is no folder .*/no$"));
  EXPECT_THAT(error_of("no-such-image"), ContainsRegex("there is no such file in /.*; correct"));
}

TEST_F(OpenImageTest, what_is_no_disk_is_named) {
  EXPECT_THAT(error_of(folder.path()), HasSubstr("a directory; a disk is an image file or a block device"));
  EXPECT_THAT(error_of(folder.path(), {.read_only = true}), HasSubstr("a directory; a disk is"));
  EXPECT_THAT(error_of("/dev/null"), HasSubstr("a character device; a disk is"));
  ASSERT_EQ(::mkfifo((folder.path() / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(error_of(folder.path() / "pipe"), HasSubstr("a pipe; a disk is"));
}

TEST_F(OpenImageTest, an_empty_image_is_refused) {
  EXPECT_THAT(error_of(folder.image(0)), HasSubstr("it is empty; give it a size, for example with truncate"));
  EXPECT_THAT(error_of(folder.image(511)), HasSubstr("it is empty"));
}

TEST_F(OpenImageTest, a_rest_of_a_sector_is_left_out_with_a_notice) {
  const auto opened = open_raw_image(folder.image(4096 + 100), {});
  ASSERT_TRUE(opened) << opened.error();
  EXPECT_EQ(opened->image->geometry().sectors, 8U);
  EXPECT_THAT(opened->notices, ElementsAre(HasSubstr("no multiple of 512; its last 100 bytes are no part")));
}

TEST_F(OpenImageTest, missing_rights_are_named_with_owner_and_mode) {
  const auto image = folder.image(4096);
  ::chmod(folder.path().c_str(), 0755);
  ::chmod(image.c_str(), 0440);
  const bool root = ::geteuid() == 0;  // Root has rights to everything.
  const auto become = [root](uid_t user) { EXPECT_TRUE(!root || ::seteuid(user) == 0); };
  const auto try_as_nobody = [&](bool read_only) {
    become(65534);
    const std::string error = error_of(image, {.read_only = read_only});
    become(0);
    return error;
  };
  const std::string write = try_as_nobody(false);
  ::chmod(image.c_str(), 0);
  const std::string both = try_as_nobody(true);
  ::chmod(folder.path().c_str(), 0600);
  const std::string enter = try_as_nobody(false);
  ::chmod(folder.path().c_str(), 0700);
  EXPECT_THAT(write,
              ContainsRegex("user [a-z0-9]+ may not read and write it: it belongs to [a-z0-9]+:[a-z0-9]+, "
                            "mode 0440; permit it with chmod or a group, or attach it read-only"));
  EXPECT_THAT(both, ContainsRegex("may not read it: it belongs to"));
  EXPECT_THAT(enter,
              ContainsRegex("may not enter /.*, which belongs to .*, mode 0600; permit it with chmod"));
}

TEST_F(OpenImageTest, other_formats_are_a_notice_and_stay_raw) {
  const auto image = folder.image(1 << 20);
  std::ofstream(image, std::ios::in | std::ios::out) << "QFI\xfb";
  const auto opened = open_raw_image(image, {});
  ASSERT_TRUE(opened) << opened.error();
  EXPECT_EQ(opened->image->geometry().sectors, 2048U);
  EXPECT_THAT(opened->notices, ElementsAre(HasSubstr("begins like a qcow2 file, but is used as a raw disk")));
}

TEST(FormatHint, knows_signatures_and_nothing_by_a_part_of_one) {
  const auto hint = [](std::string start) {
    return format_hint(std::as_bytes(std::span(start.data(), start.size()))).value_or("");
  };
  EXPECT_EQ(hint("vhdxfile..."), "vhdx");
  EXPECT_EQ(hint("KDMV\1\0"), "vmdk");
  EXPECT_EQ(hint("conectix"), "vhd");
  EXPECT_EQ(hint(std::string(64, '<') + "\x7f\x10\xda\xbe"), "vdi");
  EXPECT_EQ(hint("QFI"), "");
  EXPECT_EQ(hint(""), "");
  EXPECT_EQ(hint(std::string(512, '\0')), "");
}

TEST_F(OpenImageTest, a_descriptor_that_was_passed_is_judged_by_its_kind_and_its_rights) {
  const auto image = folder.image(4096);
  const auto adopt = [](int fd, bool read_only) {
    const auto opened = adopt_raw_image(vmm::Fd(fd), "passed", {.read_only = read_only});
    return opened ? std::string("opened") : opened.error();
  };
  EXPECT_EQ(adopt(::open(image.c_str(), O_RDWR), false), "opened");
  EXPECT_EQ(adopt(::open(image.c_str(), O_RDONLY), true), "opened");
  EXPECT_EQ(adopt(::open(image.c_str(), O_RDONLY), false),
            "disk passed: its descriptor is not open for reading and writing");
  EXPECT_EQ(adopt(::open(image.c_str(), O_WRONLY), true),
            "disk passed: its descriptor is not open for reading");
  EXPECT_EQ(adopt(::open(image.c_str(), O_PATH), true),
            "disk passed: its descriptor is not open for reading");
  EXPECT_THAT(adopt(::open("/", O_RDONLY), true), HasSubstr("a directory"));
  EXPECT_THAT(adopt(::open("/dev/zero", O_RDWR), false), HasSubstr("a character device"));
  EXPECT_THAT(adopt(::socket(AF_UNIX, SOCK_STREAM, 0), false), HasSubstr("a socket"));
}

TEST_F(OpenImageTest, a_passed_descriptor_that_appends_writes_where_it_is_asked_to) {
  const auto image = folder.image(4096);
  auto opened = adopt_raw_image(vmm::Fd(::open(image.c_str(), O_RDWR | O_APPEND)), "passed", {});
  ASSERT_TRUE(opened) << opened.error();
  auto queue = opened->image->make_queue(1);
  ASSERT_TRUE(queue) << queue.error();
  Memory memory(512);
  EXPECT_EQ(run(**queue, Operation::write, 0, memory.pieces(512)), 0);
  EXPECT_EQ(std::filesystem::file_size(image), 4096U);
}

TEST_F(OpenImageTest, direct_io_that_a_file_system_lacks_is_a_notice) {
  const std::filesystem::path shared = "/dev/shm/pinfold-image-" + std::to_string(::getpid());
  std::ofstream(shared).flush();
  std::filesystem::resize_file(shared, 4096);
  const auto opened = open_raw_image(shared, {.direct_io = true});
  std::filesystem::remove(shared);
  ASSERT_TRUE(opened) << opened.error();
  for (const auto& notice : opened->notices)
    EXPECT_THAT(notice, HasSubstr("the host's page cache is used instead"));
}

// io_uring_setup answers EPERM on this thread, as in many containers.
bool forbid_io_uring() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program = {4, filter};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST_F(OpenImageTest, where_io_uring_is_forbidden_threads_do_the_same) {
  std::thread([&] {
    ASSERT_TRUE(forbid_io_uring());
    EXPECT_THAT(why_no_io_uring().value_or(""), HasSubstr("forbidden"));
    EXPECT_THAT(error_of(folder.image(4096), {.engine = Engine::io_uring}), HasSubstr("no io_uring"));
    auto opened = open_raw_image(folder.image(4096), {});
    ASSERT_TRUE(opened) << opened.error();
    EXPECT_THAT(opened->notices, ElementsAre());
    auto queue = opened->image->make_queue(4);
    ASSERT_TRUE(queue) << queue.error();
    Memory memory(4096);
    EXPECT_EQ(run(**queue, Operation::write, 0, memory.pieces(512)), 0);
    EXPECT_EQ(run(**queue, {Operation::flush, 0, 0, {}, 1}), 0);
  }).join();
}

}  // namespace
}  // namespace pinfold::devices::block
