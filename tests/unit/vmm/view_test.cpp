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
  [[nodiscard]] Access access(View& view, Mfn mfn) const {
    std::byte* const at = view.base() + mfn.raw() * page_size;
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

// AddressSanitizer needs mappings of its own, and ends the program if there is no room for them.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PINFOLD_TEST_HAS_ASAN
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define PINFOLD_TEST_HAS_ASAN
#endif
#ifndef PINFOLD_TEST_HAS_ASAN
TEST(View, tells_of_a_frame_that_the_host_cannot_take_out) {
  std::uint64_t mappings = 0;
  std::ifstream("/proc/sys/vm/max_map_count") >> mappings;
  constexpr std::uint64_t frames = 1 << 18;
  if (mappings == 0 || mappings > frames)
    GTEST_SKIP() << "this host has room for more mappings: " << mappings;
  const auto machine = Machine::create(frames).value();
  const auto view = View::create(*machine, WriteProtection::mprotect).value();
  view->grant(Mfn(0), frames);
  std::uint64_t revoked = 0;
  for (Mfn mfn(1); mfn.raw() < frames; mfn = mfn.plus(2), ++revoked) {
    view->revoke(mfn);
    if (!view->revoked(mfn)) break;
  }
  EXPECT_LT(revoked, mappings);
  EXPECT_GT(revoked, 1000U);
}
#endif

}  // namespace
}  // namespace pinfold::vmm
