// Files that a command makes appear when they are complete, or not at all.
#include "cli/logs/new_file.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <iterator>
#include <thread>

namespace pinfold::cli::test {
namespace {

namespace fs = std::filesystem;

class NewFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "new-file-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    target_ = folder_ / "page";
  }
  void TearDown() override { fs::remove_all(folder_); }

  static std::string content(const fs::path& file) {
    std::ifstream from(file);
    return {std::istreambuf_iterator<char>(from), {}};
  }
  static void write(const fs::path& file, const std::string& text) { std::ofstream(file) << text; }
  [[nodiscard]] std::ptrdiff_t files() const {
    return std::distance(fs::directory_iterator(folder_), fs::directory_iterator());
  }

  fs::path folder_, target_;
};

TEST_F(NewFiles, appears_when_it_is_kept) {
  auto file = NewFile::create(target_).value();
  file.stream() << "new";
  EXPECT_FALSE(fs::exists(target_));
  EXPECT_TRUE(file.keep());
  EXPECT_EQ(content(target_), "new");
  EXPECT_EQ(files(), 1);
}

TEST_F(NewFiles, nothing_is_left_of_one_that_is_not_kept) {
  { NewFile::create(target_).value().stream() << "half"; }
  EXPECT_EQ(files(), 0);
}

TEST_F(NewFiles, an_older_file_stays_until_then) {
  write(target_, "old");
  { NewFile::create(target_).value().stream() << "half"; }
  EXPECT_EQ(content(target_), "old");
  auto file = NewFile::create(target_).value();
  file.stream() << "new";
  EXPECT_TRUE(file.keep());
  EXPECT_EQ(content(target_), "new");
  EXPECT_EQ(files(), 1);
}

TEST_F(NewFiles, nothing_is_left_by_a_process_that_is_killed) {
  const pid_t writer = ::fork();
  if (writer == 0) {
    auto file = NewFile::create(target_).value();
    (void)::raise(SIGKILL);
  }
  (void)::waitpid(writer, nullptr, 0);
  for (int tries = 0; files() != 0 && tries < 1000; ++tries)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(files(), 0);
}

TEST_F(NewFiles, a_link_stays_a_link) {
  const auto real = folder_ / "real";
  write(real, "old");
  fs::create_symlink(real, target_);
  auto file = NewFile::create(target_).value();
  file.stream() << "new";
  EXPECT_TRUE(file.keep());
  EXPECT_TRUE(fs::is_symlink(target_));
  EXPECT_EQ(content(real), "new");
}

TEST_F(NewFiles, what_is_no_file_is_written_directly) {
  auto file = NewFile::create("/dev/null").value();
  file.stream() << "text";
  EXPECT_TRUE(file.keep());
  EXPECT_FALSE(fs::is_regular_file("/dev/null"));
}

TEST_F(NewFiles, trouble_is_told) {
  EXPECT_FALSE(NewFile::create(folder_ / "absent" / "page"));
  auto full = NewFile::create("/dev/full").value();
  full.stream() << "text";
  EXPECT_FALSE(full.keep());
}

}  // namespace
}  // namespace pinfold::cli::test
