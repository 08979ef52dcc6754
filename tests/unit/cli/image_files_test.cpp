// Which files a disk's image may name, and what a server of disks is told.
#include "cli/images/image_files.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "cli/images/chain.hpp"
#include "cli/images/descriptors.hpp"
#include "cli/images/remote_image.hpp"

namespace pinfold::cli::images::test {
namespace {

namespace fs = std::filesystem;

class ImageFilesTest : public ::testing::Test {
 protected:
  ImageFilesTest() {
    std::string name = (fs::temp_directory_path() / "pinfold-test-XXXXXX").string();
    folder = fs::canonical(::mkdtemp(name.data()));
    for (const char* sub : {"here", "here/below", "there"}) fs::create_directory(folder / sub);
    for (const char* file : {"here/disk", "here/base", "here/below/base", "there/base", "there/other"})
      std::ofstream(folder / file) << file;
    fs::create_symlink(folder / "there/base", folder / "here/link");
    fs::create_symlink(folder / "here/base", folder / "there/link");
  }
  ~ImageFilesTest() override { fs::remove_all(folder); }

  std::string error_of(const std::string& name, const std::vector<std::string>& named = {}) {
    ImageFiles files(folder / "here/disk", named);
    EXPECT_TRUE(files.add_image(folder / "here/disk", true));
    const auto added = files.add_named_by((folder / "here/disk").string(), name, false);
    return added ? "" : added.error();
  }

  fs::path folder;
};

TEST_F(ImageFilesTest, what_is_in_the_images_folder_may_be_named) {
  EXPECT_EQ(error_of("base"), "");
  EXPECT_EQ(error_of("below/base"), "");
  EXPECT_EQ(error_of("../here/base"), "");
  EXPECT_EQ(error_of((folder / "here/base").string()), "");
  EXPECT_EQ(error_of((folder / "there/link").string()), "");
}

TEST_F(ImageFilesTest, nothing_else_may) {
  for (const std::string name : {"../there/base", "/etc/passwd", "link", "/dev/null", ".", "/proc/self/mem"})
    EXPECT_NE(error_of(name), "") << name;
}

TEST(FileNamed, takes_no_protocol) {
  for (const std::string name :
       {"json:{}", "nbd:localhost:1", "nbd://host/x", "file:base", "http://host/x", "", ":"})
    EXPECT_FALSE(file_named("/here/disk", name)) << name;
  EXPECT_EQ(file_named("/here/disk", "a/b:c"), "/here/a/b:c");
  EXPECT_EQ(file_named("/here/disk", "/a:b"), "/a:b");
}

TEST_F(ImageFilesTest, unless_the_user_names_it) {
  EXPECT_EQ(error_of("../there/base", {(folder / "there/base").string()}), "");
  EXPECT_EQ(error_of("link", {(folder / "there/base").string()}), "");
  EXPECT_EQ(error_of("../there/base", {(folder / "there/").string()}), "");
  EXPECT_NE(error_of("../there/other", {(folder / "there/base").string()}), "");
  // Without the slash it is no folder.
  EXPECT_NE(error_of("../there/base", {(folder / "there").string()}), "");
  EXPECT_NE(error_of("../there/base", {(folder / "the/").string()}), "");
}

TEST_F(ImageFilesTest, pipes_and_folders_are_no_images) {
  ASSERT_EQ(::mkfifo((folder / "here/pipe").c_str(), 0600), 0);
  EXPECT_NE(error_of("pipe"), "");
  EXPECT_NE(error_of("below"), "");
}

TEST_F(ImageFilesTest, only_known_files_are_opened_and_written_only_if_they_may_be) {
  ImageFiles files(folder / "here/disk", {});
  const std::string disk = (folder / "here/disk").string(), base = (folder / "here/base").string();
  ASSERT_TRUE(files.add_image(disk, true));
  ASSERT_TRUE(files.add_named_by(disk, "base", false));
  const auto error = [&](const std::string& name, int flags) {
    const auto opened = files.open(name, flags);
    return opened ? 0 : opened.error();
  };
  EXPECT_EQ(error(disk, O_RDWR), 0);
  EXPECT_EQ(error(base, O_RDONLY), 0);
  EXPECT_EQ(error(base, O_RDWR), EACCES);
  EXPECT_EQ(error(disk, O_RDWR | O_TRUNC), EACCES);
  EXPECT_EQ(error(disk, O_RDWR | O_CREAT), EACCES);
  EXPECT_EQ(error((folder / "here/below/base").string(), O_RDONLY), ENOENT);
  EXPECT_EQ(error("/etc/passwd", O_RDONLY), ENOENT);
}

TEST_F(ImageFilesTest, a_file_that_was_exchanged_is_still_the_first_one) {
  ImageFiles files(folder / "here/disk", {});
  const std::string disk = (folder / "here/disk").string();
  ASSERT_TRUE(files.add_image(disk, false));
  fs::rename(folder / "there/other", disk);
  const auto opened = files.open(disk, O_RDONLY);
  ASSERT_TRUE(opened);
  std::array<char, 9> text{};
  EXPECT_EQ(::read(opened->get(), text.data(), text.size()), 9);
  EXPECT_EQ(std::string(text.data(), text.size()), "here/disk");
}

TEST(ImageInfo, is_believed_only_where_it_is_understood) {
  const auto facts = parse_image_info(
      R"({"backing-filename": "a", "backing-filename-format": "raw", "format-specific": {"data": {"data-file": "b"}}})");
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->backing, "a");
  EXPECT_EQ(facts->backing_format, "raw");
  EXPECT_EQ(facts->data_file, "b");
  for (const char* text : {"", "[]", "{", "null", "\"a\""}) EXPECT_FALSE(parse_image_info(text)) << text;
  EXPECT_EQ(parse_image_info(R"({"backing-filename": 7, "format-specific": []})")->backing, "");
}

TEST(ImageOptions, keep_commas) {
  ImageFile file;
  file.name = "/a,b=c";
  EXPECT_EQ(image_options(file, DiskFormat::vhd), "driver=vpc,file.driver=file,file.filename=/a,,b=c");
}

TEST(RemoteImages, are_named_by_uris) {
  const auto host = remote_image("nbd://storage:7/a%20b");
  ASSERT_TRUE(host && *host);
  EXPECT_EQ((*host)->host, "storage");
  EXPECT_EQ((*host)->port, "7");
  EXPECT_EQ((*host)->export_name, "a b");
  const auto six = remote_image("nbd://[::1]");
  ASSERT_TRUE(six && *six);
  EXPECT_EQ((*six)->host, "::1");
  EXPECT_EQ((*six)->port, "10809");
  const auto socket = remote_image("nbd+unix:///e?socket=/run/x");
  ASSERT_TRUE(socket && *socket);
  EXPECT_EQ((*socket)->socket, "/run/x");
  EXPECT_EQ((*socket)->export_name, "e");
  EXPECT_FALSE(remote_image("/srv/nbd://x"));
  EXPECT_FALSE(remote_image("nbd"));
  for (const char* bad : {"nbd://", "nbd://:7/x", "nbd://h/%zz", "nbd://h/%00", "nbd+unix:///x",
                          "nbd+unix://h/?socket=/x", "nbds://h/x", "https://h/x"})
    EXPECT_TRUE(remote_image(bad) && !*remote_image(bad)) << bad;
}

TEST(DiskSockets, are_handed_over_as_a_text) {
  DiskSockets disks(3);
  for (int n = 0; n < 2; ++n) disks[1].sockets.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int one = disks[1].sockets[0].get(), other = disks[1].sockets[1].get();
  EXPECT_EQ(text_of(disks), ";" + std::to_string(one) + "," + std::to_string(other) + ",;;");
  disks[1].tie = vmm::Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(text_of(disks), ";" + std::to_string(one) + "," + std::to_string(other) + ",/" +
                                std::to_string(disks[1].tie.get()) + ";;");
  EXPECT_EQ(numbers_of(disks), (std::vector<int>{one, other, disks[1].tie.get()}));
  EXPECT_EQ(text_of(DiskSockets(4)), "");
  const int inherited = ::open("/dev/null", O_RDONLY | O_CLOEXEC),
            tie = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const auto got = inherit_disk_sockets(";" + std::to_string(inherited) + ",/" + std::to_string(tie) + ";;");
  ASSERT_TRUE(got);
  ASSERT_EQ(got->size(), 3U);
  EXPECT_EQ(numbers_of(*got), (std::vector<int>{inherited, tie}));
  EXPECT_EQ((*got)[1].sockets.size(), 1U);
  for (const char* bad : {"1,;", "x,;", "999999,;", ",;", "/999999;"})
    EXPECT_FALSE(inherit_disk_sockets(bad)) << bad;
}

}  // namespace
}  // namespace pinfold::cli::images::test
