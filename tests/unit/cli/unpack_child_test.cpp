// A kernel that takes over the process that unpacks it gets nothing but its own guest.
#include "cli/run/unpack_child.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string>

#include "images.hpp"
#include "sandbox/helper.hpp"

namespace pinfold::cli {
namespace {

using loader::Loaded;
using loader::Packing;
using loader::UnpackedKernel;
using loader::testing::Bytes;
using loader::testing::write_bzimage;
using loader::testing::write_elf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::chrono::seconds patience(60);

/// As the child writes it.
struct Said {
  std::uint32_t kind = 0, slow = 0;
  double fraction = 0;
  std::uint64_t offset = 0, size = 0;
  std::uint32_t knows_unpacked_size = 0, unpacked_size = 0;
  char text[472] = {};
};
enum : std::uint32_t { progress, in_place, unpacked, failed, lzo, beyond };

void say(int to_parent, const Said& said) { (void)!::write(to_parent, &said, sizeof said); }

std::string error_of(const Loaded<UnpackedKernel>& result) {
  return result ? "no error" : result.error().message;
}

/// What becomes of a kernel whose child does this.
Loaded<UnpackedKernel> with(const ChildWork& work, std::chrono::seconds wait = patience) {
  const Bytes file(1000);
  return unpack_by(file, {}, work, wait);
}

class EachPacking : public ::testing::TestWithParam<Packing> {};
INSTANTIATE_TEST_SUITE_P(UnpackChild, EachPacking,
                         ::testing::Values(Packing::gzip, Packing::xz, Packing::lzma, Packing::zstd,
                                           Packing::lz4_legacy),
                         [](const auto& p) { return name_of(p.param); });

TEST_P(EachPacking, gives_what_the_kernel_unpacks_to_and_says_how_far_it_is) {
  const Bytes elf = write_elf({});
  std::vector<double> seen;
  const auto result =
      unpack_in_child(write_bzimage(GetParam(), elf), [&](std::string_view what, double done) {
        EXPECT_THAT(std::string(what), HasSubstr(name_of(GetParam())));
        seen.push_back(done);
      });
  ASSERT_TRUE(result) << error_of(result);
  EXPECT_TRUE(std::ranges::equal(result->bytes.bytes(), elf));
  EXPECT_EQ(result->slow, GetParam() != Packing::lz4_legacy);
  ASSERT_GE(seen.size(), 2U);
  EXPECT_EQ(seen.back(), 1.0);
}

TEST(UnpackChild, names_the_place_of_a_kernel_that_is_not_packed) {
  const Bytes elf = write_elf({});
  const Bytes file = write_bzimage(elf, static_cast<std::uint32_t>(elf.size()));
  const auto result = unpack_in_child(file, {});
  ASSERT_TRUE(result) << error_of(result);
  ASSERT_TRUE(result->bytes.bytes().empty());
  // The payload's last word is its size.
  ASSERT_EQ(result->size, elf.size() + 4);
  EXPECT_TRUE(std::ranges::equal(std::span(file).subspan(result->offset, elf.size()), elf));
}

TEST(UnpackChild, passes_on_what_is_wrong_with_the_file) {
  EXPECT_THAT(error_of(unpack_in_child(Bytes(1000), {})), HasSubstr("not a kernel"));
}

TEST(UnpackChild, that_dies_is_an_error) {
  EXPECT_THAT(error_of(with([](auto, int) { ::raise(SIGKILL); })), HasSubstr("the process that unpacks it"));
  EXPECT_THAT(error_of(with([](auto, int) { __builtin_trap(); })), HasSubstr("ended by signal"));
  EXPECT_THAT(error_of(with([](auto, int) {})), HasSubstr("ended by itself"));
}

TEST(UnpackChild, that_goes_on_for_ever_is_killed) {
  EXPECT_THAT(error_of(with(
                  [](auto, int) {
                    for (volatile bool on = true; on;) {
                    }
                  },
                  std::chrono::seconds(1))),
              HasSubstr("too long"));
}

TEST(UnpackChild, that_talks_nonsense_is_an_error) {
  // Less than a message, a kind that there is not, and a size that nothing has.
  EXPECT_THAT(error_of(with([](auto, int to) { (void)!::write(to, "hello", 5); })), HasSubstr("failed"));
  EXPECT_THAT(error_of(with([](auto, int to) { say(to, {.kind = beyond}); })), HasSubstr("failed"));
  // Less than it says, nothing, and more than any kernel has.
  for (const std::uint64_t size :
       {std::uint64_t{11}, std::uint64_t{0}, (std::uint64_t{1} << 30) + 1, ~std::uint64_t{0}})
    EXPECT_THAT(error_of(with([=](auto, int to) {
                  say(to, {.kind = unpacked, .size = size});
                  (void)!::write(to, "0123456789", 10);
                })),
                HasSubstr("failed"))
        << size;
}

TEST(UnpackChild, its_words_are_fit_for_a_terminal) {
  const auto result = with([](auto, int to) {
    Said said{.kind = failed};
    std::memset(said.text, '\x1b', sizeof said.text);
    say(to, said);
  });
  EXPECT_EQ(error_of(result).find('\x1b'), std::string::npos);
  EXPECT_EQ(error_of(result).substr(0, 3), "???");
}

TEST(UnpackChild, progress_beyond_the_end_is_not_shown) {
  const Bytes file(1000);
  const auto result = unpack_by(
      file,
      [](std::string_view what, double fraction) {
        EXPECT_EQ(what, "?[2J");
        EXPECT_EQ(fraction, 0.5);
      },
      [](auto, int to) {
        for (const double fraction : {-1.0, 2.0, std::nan(""), HUGE_VAL}) say(to, {.fraction = fraction});
        say(to, {.fraction = 0.5, .text = "\x1b[2J"});
      },
      patience);
  EXPECT_THAT(error_of(result), HasSubstr("ended by itself"));
}

TEST(UnpackChild, has_no_descriptor_of_its_parent) {
  const auto result = with([](auto, int to) {
    Said said{.kind = failed, .text = "only its own"};
    for (int fd = 0; fd < 1024; ++fd)
      if (fd != to && (::write(fd, "", 0) == 0 || errno != EBADF)) std::strcpy(said.text, "others, too");
    say(to, said);
  });
  EXPECT_EQ(error_of(result), "only its own");
}

struct Attempt {
  const char* name;
  long (*make)();
};

class Attempts : public ::testing::TestWithParam<Attempt> {};
INSTANTIATE_TEST_SUITE_P(
    UnpackChild, Attempts,
    ::testing::Values(Attempt{"open", [] { return long{::open("/etc/passwd", O_RDONLY)}; }},
                      Attempt{"stat",
                              [] {
                                struct stat is {};
                                return long{::stat("/etc/passwd", &is)};
                              }},
                      Attempt{"unlink", [] { return long{::unlink("/nonexistent")}; }},
                      Attempt{"read", [] { return ::read(0, nullptr, 0); }},
                      Attempt{"socket", [] { return long{::socket(AF_UNIX, SOCK_STREAM, 0)}; }},
                      Attempt{"fork", [] { return ::syscall(SYS_fork); }},
                      Attempt{"thread", [] { return ::syscall(SYS_clone3, nullptr, 0); }},
                      Attempt{"execute", [] { return long{::execl("/bin/true", "true", nullptr)}; }},
                      Attempt{"signal_the_parent", [] { return long{::kill(::getppid(), 0)}; }},
                      Attempt{"trace", [] { return ::syscall(SYS_ptrace, 0, 0, 0, 0); }},
                      Attempt{"io_uring", [] { return ::syscall(SYS_io_uring_setup, 1, nullptr); }},
                      Attempt{"executable_memory",
                              [] {
                                return std::bit_cast<long>(::mmap(nullptr, 4096, PROT_READ | PROT_EXEC,
                                                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
                              }},
                      Attempt{"more_time",
                              [] {
                                const rlimit all{RLIM_INFINITY, RLIM_INFINITY};
                                return long{::setrlimit(RLIMIT_CPU, &all)};
                              }}),
    [](const auto& attempt) { return attempt.param.name; });

TEST_P(Attempts, are_refused) {
  const auto attempt = GetParam().make;
  const auto in_mode = [&](sandbox::Mode mode) {
    return error_of(unpack_by(
        Bytes(1000), {},
        [&](auto, int to) {
          (void)attempt();
          say(to, {.kind = failed, .text = "it did so"});
        },
        patience, mode));
  };
  EXPECT_THAT(in_mode(sandbox::Mode::off), Not(HasSubstr("refused")));
  if (sandbox::confines_nothing()) GTEST_SKIP() << "this build confines nothing";
  EXPECT_THAT(in_mode(sandbox::Mode::on), HasSubstr("its sandbox refused a system call"));
}

}  // namespace
}  // namespace pinfold::cli
