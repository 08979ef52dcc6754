// The view on this host: system calls read and write through it.
#include "vmm/memory/view.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <fstream>

namespace pinfold::vmm {
namespace {

class Pipe {
 public:
  Pipe() { EXPECT_EQ(::pipe(ends_.data()), 0); }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    for (const int end : ends_) ::close(end);
  }
  /// Can a byte be read or written there? By a system call, which fails where an access
  /// would end the process.
  [[nodiscard]] bool reads(const std::byte* at) const { return ::write(ends_[1], at, 1) == 1 && drop(); }
  [[nodiscard]] bool writes(std::byte* at) const {
    const char byte = 1;
    EXPECT_EQ(::write(ends_[1], &byte, 1), 1);
    return ::read(ends_[0], at, 1) == 1 || !drop();
  }

 private:
  [[nodiscard]] bool drop() const {
    char byte = 0;
    return ::read(ends_[0], &byte, 1) == 1;
  }
  std::array<int, 2> ends_{};
};

class Views : public testing::TestWithParam<WriteProtection> {
 protected:
  enum class Access { none, read_only, read_write };
  [[nodiscard]] Access access(View& view, Mfn mfn) const { return access(view.base(), mfn); }
  [[nodiscard]] Access window(View& view, Mfn mfn) const { return access(view.windows(), mfn); }
  [[nodiscard]] Access access(std::byte* base, Mfn mfn) const {
    std::byte* const at = base + mfn.raw() * page_size;
    if (!pipe_.reads(at)) return Access::none;
    return pipe_.writes(at) ? Access::read_write : Access::read_only;
  }

 private:
  Pipe pipe_;
};

TEST_P(Views, lend_a_frame_that_keeps_its_contents) {
  const auto machine = Machine::create(16).value();
  auto made = View::create(*machine, GetParam());
  if (!made) GTEST_SKIP() << made.error().message;
  View& view = **made;
  machine->pages().store(5, 7, 0x1234);
  ASSERT_TRUE(view.lend(Mfn(5), pvmmu::Loan::read_only));
  EXPECT_EQ(access(view, Mfn(5)), Access::read_only);
  ASSERT_TRUE(view.lend(Mfn(5), pvmmu::Loan::read_write));
  EXPECT_EQ(access(view, Mfn(5)), Access::read_write);
  ASSERT_TRUE(view.lend(Mfn(5), pvmmu::Loan::read_only));
  EXPECT_EQ(access(view, Mfn(5)), Access::read_only);
  ASSERT_TRUE(view.lend(Mfn(5), pvmmu::Loan::none));
  EXPECT_EQ(access(view, Mfn(5)), Access::none);
  EXPECT_EQ(access(view, Mfn(4)), Access::none);
  EXPECT_EQ(access(view, Mfn(6)), Access::none);
  EXPECT_EQ(machine->pages().load(5, 7), 0x1234U);
}

TEST_P(Views, let_through_what_they_were_told_and_no_more) {
  const auto machine = Machine::create(16).value();
  auto made = View::create(*machine, GetParam());
  if (!made) GTEST_SKIP() << made.error().message;
  View& view = **made;
  for (std::uint64_t i = 0; i < 16; ++i) EXPECT_EQ(access(view, Mfn(i)), Access::none);
  view.grant(Mfn(4), 4);
  EXPECT_EQ(access(view, Mfn(3)), Access::none);
  for (std::uint64_t i = 4; i < 8; ++i) EXPECT_EQ(access(view, Mfn(i)), Access::read_write);
  EXPECT_EQ(access(view, Mfn(8)), Access::none);
  ASSERT_TRUE(view.protect(Mfn(5)));
  EXPECT_EQ(access(view, Mfn(4)), Access::read_write);
  EXPECT_EQ(access(view, Mfn(5)), Access::read_only);
  EXPECT_EQ(access(view, Mfn(6)), Access::read_write);
  view.unprotect(Mfn(5));
  EXPECT_EQ(access(view, Mfn(5)), Access::read_write);
  view.revoke(Mfn(5));
  EXPECT_TRUE(view.revoked(Mfn(5)));
  EXPECT_EQ(access(view, Mfn(5)), Access::none);
  EXPECT_EQ(access(view, Mfn(6)), Access::read_write);
  view.grant(Mfn(5), 5);
  ASSERT_TRUE(view.revoke_run(Mfn(5), 3));
  for (std::uint64_t i = 5; i < 8; ++i) EXPECT_EQ(access(view, Mfn(i)), Access::none);
  for (const std::uint64_t i : {4U, 8U}) EXPECT_EQ(access(view, Mfn(i)), Access::read_write);
}

TEST_P(Views, have_windows_that_are_opened_and_closed_whatever_the_view_lets_through) {
  const auto machine = Machine::create(16).value();
  auto made = View::create(*machine, GetParam(), true);
  if (!made) GTEST_SKIP() << made.error().message;
  View& view = **made;
  for (std::uint64_t i = 0; i < 16; ++i) EXPECT_EQ(window(view, Mfn(i)), Access::none);
  view.grant(Mfn(4), 4);
  for (std::uint64_t i = 4; i < 8; ++i) EXPECT_EQ(window(view, Mfn(i)), Access::read_only);
  for (const std::uint64_t i : {3U, 8U}) EXPECT_EQ(window(view, Mfn(i)), Access::none);
  ASSERT_TRUE(view.protect(Mfn(5)));
  ASSERT_TRUE(view.open_window(Mfn(5)));
  EXPECT_TRUE(view.is_window_open(Mfn(5)));
  EXPECT_EQ(access(view, Mfn(5)), Access::read_only);
  EXPECT_EQ(window(view, Mfn(5)), Access::read_write);
  for (const std::uint64_t i : {4U, 6U}) EXPECT_EQ(window(view, Mfn(i)), Access::read_only);
  view.windows()[5 * page_size] = std::byte{7};
  EXPECT_EQ(view.base()[5 * page_size], std::byte{7});
  view.unprotect(Mfn(5));
  EXPECT_EQ(window(view, Mfn(5)), Access::read_write);
  ASSERT_TRUE(view.protect(Mfn(5)));
  ASSERT_TRUE(view.close_window(Mfn(5)));
  EXPECT_FALSE(view.is_window_open(Mfn(5)));
  EXPECT_EQ(window(view, Mfn(5)), Access::read_only);
  EXPECT_TRUE(view.windows_complete());
}

TEST_P(Views, have_no_window_of_a_frame_that_has_left) {
  const auto machine = Machine::create(16).value();
  auto made = View::create(*machine, GetParam(), true);
  if (!made) GTEST_SKIP() << made.error().message;
  View& view = **made;
  view.grant(Mfn(4), 6);
  for (std::uint64_t i = 4; i < 10; ++i) ASSERT_TRUE(view.open_window(Mfn(i)));
  view.revoke(Mfn(4));
  ASSERT_TRUE(view.revoke_run(Mfn(5), 2));
  ASSERT_TRUE(view.lend(Mfn(7), pvmmu::Loan::none));
  for (std::uint64_t i = 4; i < 8; ++i) {
    EXPECT_EQ(window(view, Mfn(i)), Access::none);
    EXPECT_FALSE(view.is_window_open(Mfn(i)));
  }
  EXPECT_EQ(window(view, Mfn(8)), Access::read_write);
  // Frames come back: from the pool, and from another domain.
  view.grant(Mfn(4), 1);
  EXPECT_EQ(window(view, Mfn(4)), Access::read_only);
  ASSERT_TRUE(view.lend(Mfn(7), pvmmu::Loan::read_write));
  EXPECT_EQ(window(view, Mfn(7)), Access::none);
  view.grant(Mfn(7), 1);
  EXPECT_EQ(window(view, Mfn(7)), Access::read_only);
  ASSERT_TRUE(view.open_window(Mfn(7)));
  EXPECT_EQ(window(view, Mfn(7)), Access::read_write);
}

TEST_P(Views, have_no_windows_unless_they_are_wanted) {
  const auto machine = Machine::create(16).value();
  auto made = View::create(*machine, GetParam());
  if (!made) GTEST_SKIP() << made.error().message;
  (*made)->grant(Mfn(4), 1);
  EXPECT_EQ((*made)->windows(), nullptr);
  EXPECT_FALSE((*made)->open_window(Mfn(4)));
  EXPECT_TRUE((*made)->close_window(Mfn(4)));
}

TEST_P(Views, give_the_memory_of_a_revoked_frame_back_to_the_host) {
  const auto machine = Machine::create(16).value();
  auto view = View::create(*machine, GetParam());
  if (!view) GTEST_SKIP() << view.error().message;
  const auto host_bytes = [&] {
    struct stat status {};
    EXPECT_EQ(::fstat(machine->file().get(), &status), 0);
    return status.st_blocks * 512;
  };
  (*view)->grant(Mfn(4), 2);
  for (const std::uint64_t frame : {4U, 5U}) machine->pages().page(frame)[7] = std::byte{1};
  const auto before = host_bytes();
  (*view)->revoke(Mfn(4));
  EXPECT_EQ(host_bytes(), before - std::int64_t{page_size});
  EXPECT_EQ(machine->pages().page(4)[7], std::byte{0});
  EXPECT_EQ(machine->pages().page(5)[7], std::byte{1});
  ASSERT_TRUE((*view)->revoke_run(Mfn(4), 2));
  EXPECT_EQ(host_bytes(), before - std::int64_t{2 * page_size});
  EXPECT_EQ(machine->pages().page(5)[7], std::byte{0});
}

INSTANTIATE_TEST_SUITE_P(Both, Views,
                         testing::Values(WriteProtection::mprotect, WriteProtection::userfaultfd));

/// Gives back every other frame until the view can't. How many those were.
std::uint64_t scatter(View& view, std::uint64_t frames) {
  std::uint64_t revoked = 0;
  for (Mfn mfn(1); mfn.raw() < frames; mfn = mfn.plus(2), ++revoked) {
    view.revoke(mfn);
    if (!view.revoked(mfn)) break;
  }
  return revoked;
}

/// How many mappings this process has.
std::uint64_t mappings_in_use() {
  std::ifstream maps("/proc/self/maps");
  std::uint64_t count = 0;
  for (std::string line; std::getline(maps, line);) ++count;
  return count;
}

/// A machine that is so large that each host's limit is met before its frames are used up.
class ScatteredView : public testing::TestWithParam<WriteProtection> {
 protected:
  void SetUp() override {
    if (max_map_count() == 0 || max_map_count() > frames)
      GTEST_SKIP() << "this host has room for more mappings: " << max_map_count();
  }
  static constexpr std::uint64_t frames = 1 << 18;
  std::unique_ptr<Machine> machine_ = Machine::create(frames, 0, max_map_count()).value();
};

TEST_P(ScatteredView, leaves_the_process_mappings_of_its_own) {
  const auto before = mappings_in_use();
  auto made = View::create(*machine_, GetParam());
  if (!made) GTEST_SKIP() << made.error().message;
  View& view = **made;
  view.grant(Mfn(0), frames);
  EXPECT_GT(scatter(view, frames), 10000U);
  // What it counts is what the host counts: the view, and nothing beyond what the budget gives.
  EXPECT_NEAR(static_cast<double>(mappings_in_use() - before),
              static_cast<double>(machine_->mappings().most()), 8);
  // What a program does next: threads, large allocations.
  std::vector<Mapping> others;
  for (int i = 0; i < 500; ++i) others.push_back(Mapping::anonymous(std::size_t{1} << 20).value());
}

TEST_P(ScatteredView, takes_nothing_of_what_a_neighbour_needs) {
  auto made = View::create(*machine_, GetParam()), neighbours = View::create(*machine_, GetParam());
  if (!made || !neighbours) GTEST_SKIP() << made.error().message;
  (*made)->grant(Mfn(0), frames / 2);
  (void)scatter(**made, frames / 2);
  (*neighbours)->grant(Mfn(frames / 2), frames / 2);
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_TRUE((*neighbours)->protect(Mfn(frames / 2 + 1 + 2 * i)));
  for (std::uint64_t i = 100; i < 200; ++i)
    ASSERT_TRUE((*neighbours)->lend(Mfn(2 * i), pvmmu::Loan::read_only)) << "one of the other's frames";
}

INSTANTIATE_TEST_SUITE_P(Both, ScatteredView,
                         testing::Values(WriteProtection::mprotect, WriteProtection::userfaultfd));

}  // namespace
}  // namespace pinfold::vmm
