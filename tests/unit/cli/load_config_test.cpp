// From a file and options to a guest. The parser is libxlutil, in a child process, as in the program.
#include "cli/config/load_config.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <vector>

namespace pinfold::cli::test {
namespace {

class LoadConfig : public testing::Test {
 protected:
  LoadConfig() {
    std::string pattern = testing::TempDir() + "pinfold-config-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    file_ = directory_ / "guest.cfg";
  }
  ~LoadConfig() override { std::filesystem::remove_all(directory_); }

  tl::expected<LoadedConfig, Remarks> load(const std::string& text, const GuestFlags& flags = {}) {
    std::ofstream(file_, std::ios::binary) << text;
    return load_config(file_, flags);
  }

  /// The first error, without the file's name.
  std::string error(const std::string& text, const GuestFlags& flags = {}) {
    const auto loaded = load(text, flags);
    if (loaded) return "none";
    for (const Remark& remark : loaded.error())
      if (remark.severity == Severity::error) {
        const std::string shown = remark.text(), place = file_.string();
        return shown.starts_with(place) ? shown.substr(place.size()) : shown;
      }
    return "no error among the remarks";
  }

  std::filesystem::path directory_, file_;
};

const std::string minimal = "name='a'\nkernel='k'\n";

TEST_F(LoadConfig, a_small_file_has_the_defaults_of_xl) {
  const auto loaded = load(minimal);
  ASSERT_TRUE(loaded) << loaded.error()[0].text();
  const GuestConfig& guest = loaded->guest;
  EXPECT_EQ(guest.name, "a");
  EXPECT_EQ(guest.kernel, "k");
  EXPECT_EQ(guest.command_line, "");
  EXPECT_EQ(guest.memory_bytes, 512U << 20);
  EXPECT_EQ(guest.vcpus, 1U);
  EXPECT_EQ(guest.on_reboot, EndAction::restart);
  EXPECT_FALSE(guest.uuid);
  EXPECT_TRUE(loaded->remarks.empty());
  EXPECT_TRUE(loaded->not_yet.empty());
}

TEST_F(LoadConfig, options_alone_need_no_file) {
  GuestFlags flags;
  flags.kernel = "k";
  flags.memory_bytes = 64U << 20;
  const auto loaded = load_config({}, flags);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->guest.command_line, "console=hvc0");
  EXPECT_EQ(loaded->guest.memory_bytes, 64U << 20);
  EXPECT_TRUE(loaded->guest.name.empty());
}

TEST_F(LoadConfig, options_win_over_the_file) {
  GuestFlags flags;
  flags.kernel = "other";
  flags.name = "b";
  flags.vcpus = 2;
  flags.command_line = "quiet";
  flags.on_reboot = EndAction::destroy;
  flags.memory_bytes = 1U << 30;
  flags.disks = {"/new,raw,51712", "/more,raw,xvdb"};
  flags.vifs = {"bridge=b"};
  const auto loaded = load(minimal +
                               "bootloader='pygrub'\nextra='x'\nmemory=100\nvcpus=8\nmaxvcpus=8\n"
                               "disk=['/old,raw,xvda,ro']\nvif=['']\n",
                           flags);
  ASSERT_TRUE(loaded) << loaded.error()[0].text();
  const GuestConfig& guest = loaded->guest;
  EXPECT_EQ(guest.kernel, "other");
  EXPECT_EQ(guest.bootloader, "") << "the user has found the kernel";
  EXPECT_EQ(guest.name, "b");
  EXPECT_EQ(guest.vcpus, 2U);
  EXPECT_EQ(guest.max_vcpus, 8U);
  EXPECT_EQ(guest.command_line, "quiet");
  EXPECT_EQ(guest.on_reboot, EndAction::destroy);
  EXPECT_EQ(guest.memory_bytes, 1U << 30);
  ASSERT_EQ(guest.disks.size(), 2U);
  EXPECT_EQ(guest.disks[0].target, "/new");
  EXPECT_FALSE(guest.disks[0].read_only);
  EXPECT_EQ(guest.disks[1].target, "/more");
  ASSERT_EQ(guest.vifs.size(), 2U);
  EXPECT_EQ(guest.vifs[1].bridge, "b");
}

TEST_F(LoadConfig, an_error_of_an_option_names_the_option) {
  GuestFlags flags;
  flags.memory_bytes = 4095;
  EXPECT_TRUE(error(minimal + "memory=10\n", flags).starts_with("--memory: "));
  flags = {};
  flags.disks = {"/x,qcow9,xvda"};
  EXPECT_TRUE(error(minimal, flags).starts_with("--disk: '/x,qcow9,xvda': unknown value for format"));
  flags = {};
  flags.vifs = {"rate=fast"};
  EXPECT_TRUE(error(minimal, flags).starts_with("--vif: rate=fast: "));
}

TEST_F(LoadConfig, errors_are_told_in_the_order_of_the_file_with_their_lines) {
  const auto loaded =
      load("memory='x'\ndisk=['/a,raw,xvda',\n'/b,raw,nothing']\nname='a'\nkernel='k'\nvcpus='y'\n");
  ASSERT_FALSE(loaded);
  std::vector<unsigned> lines;
  for (const Remark& remark : loaded.error()) lines.push_back(remark.line);
  EXPECT_EQ(lines, (std::vector<unsigned>{1, 3, 6}));
}

TEST_F(LoadConfig, what_can_not_be_started_yet_has_its_line) {
  const auto loaded = load(minimal +
                           "disk=['/a,raw,xvda',\n"
                           "'vdev=xvdb,format=raw,script=block-x,target=/b']\n");
  ASSERT_TRUE(loaded);
  bool disk = false;
  for (const Remark& reason : loaded->not_yet) {
    disk = disk || (reason.line == 4 && reason.message.find("disk[1]: block scripts") == 0);
  }
  EXPECT_TRUE(disk);
}

TEST_F(LoadConfig, there_is_an_end_to_what_a_file_can_have) {
  std::string keys = minimal, vifs = minimal + "vif=[", disks = minimal + "disk=[";
  for (int i = 0; i < 4096; ++i) keys += "k" + std::to_string(i) + "=1\n";
  for (int i = 0; i < 257; ++i) vifs += "'',";
  for (int i = 0; i < 1025; ++i) disks += "'/x,raw," + std::to_string(i + 1) + "',";
  EXPECT_EQ(error(keys), ":4097: more than 4096 keys");
  EXPECT_EQ(error(vifs + "]\n"), ":3: vif[256]: more than 256 interfaces");
  EXPECT_EQ(error(disks + "]\n"), ":3: disk[1024]: more than 1024 disks");
}

TEST_F(LoadConfig, windows_line_ends_marks_and_a_last_line_without_end_are_read) {
  const auto loaded = load("\xef\xbb\xbfname='a'\r\nkernel='k'\r\nmemory=3 # MB\r");
  ASSERT_TRUE(loaded) << loaded.error()[0].text();
  EXPECT_EQ(loaded->guest.memory_bytes, 3U << 20);
  EXPECT_TRUE(load("name='a'\nkernel='k'\n#"));
}

TEST_F(LoadConfig, what_is_no_text_is_refused) {
  EXPECT_EQ(error(std::string("name='a\0b'", 10)), ":1: a byte of value 0: not a text file");
  EXPECT_EQ(error(std::string((1 << 20) + 1, '\n')), ": larger than 1024 KiB: not a configuration file");
  EXPECT_EQ(load_config(directory_, {}).error()[0].message, "not a regular file");
  EXPECT_EQ(load_config("/dev/zero", {}).error()[0].message, "not a regular file");
  EXPECT_EQ(load_config(directory_ / "missing", {}).error()[0].message, "No such file or directory");
  const std::filesystem::path pipe = directory_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(load_config(pipe, {}).error()[0].message, "not a regular file");
}

}  // namespace
}  // namespace pinfold::cli::test
