// What a command sends of a guest that joins a machine, and what a monitor takes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <span>
#include <string_view>

#include "cli/join/arrival.hpp"
#include "cli/join/parcel.hpp"
#include "cli/supervisor/handover.hpp"

namespace pinfold::cli::join {
namespace {

vmm::Fd file_of(std::string_view text) { return sealed_file(std::as_bytes(std::span(text))); }

struct Sockets {
  vmm::Fd ours, theirs;
  Sockets() {
    std::array<int, 2> ends{-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    ours = vmm::Fd(ends[0]);
    theirs = vmm::Fd(ends[1]);
  }
};

TEST(Parcel, arrives_as_it_was_sent) {
  const Sockets sockets;
  std::vector<vmm::Fd> files;
  std::vector<int> numbers;
  for (int n = 0; n < 11; ++n) {
    files.push_back(file_of("file " + std::to_string(n)));
    numbers.push_back(files.back().get());
  }
  ASSERT_TRUE(send_parcel(sockets.ours, "about them", numbers));
  const auto parcel = receive_parcel(sockets.theirs);
  ASSERT_TRUE(parcel) << parcel.error();
  EXPECT_EQ(parcel->text, "about them");
  ASSERT_EQ(parcel->files.size(), files.size());
  for (std::size_t n = 0; n < files.size(); ++n)
    EXPECT_EQ(bytes_of(parcel->files[n]), "file " + std::to_string(n));
}

TEST(Parcel, a_part_of_one_is_refused_and_not_waited_for) {
  const Sockets sockets;
  EXPECT_FALSE(receive_parcel(sockets.theirs));
  const vmm::Fd about = file_of("{}");
  const std::array<int, 1> passed{about.get()};
  ASSERT_TRUE(send_with(sockets.ours, std::string_view("\x05", 1), passed));
  EXPECT_FALSE(receive_parcel(sockets.theirs)) << "five files are missing";
}

TEST(Parcel, a_file_that_can_be_changed_is_refused) {
  const vmm::Fd open(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_FALSE(size_of_sealed(open));
  ASSERT_EQ(::fcntl(open.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
  EXPECT_FALSE(size_of_sealed(open)) << "it can be written";
  ASSERT_EQ(::fcntl(open.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
  EXPECT_TRUE(size_of_sealed(open));
  const vmm::Fd plain(::open("/etc/passwd", O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(size_of_sealed(plain)) << "an ordinary file";
  const Sockets sockets;
  EXPECT_FALSE(size_of_sealed(sockets.ours));
}

TEST(Arrival, text_that_is_no_guest_is_refused) {
  for (const char* text : {"", "{", "[]", "{}", "7", R"({"options":0})", R"({"options":"x","kernel":[]})",
                           R"({"options":99999999999,"kernel":-7})"}) {
    Sockets sockets;
    ASSERT_TRUE(send_parcel(sockets.ours, text, {sockets.ours.get()}));
    EXPECT_FALSE(receive_guest(std::move(sockets.theirs))) << text;
  }
}

}  // namespace
}  // namespace pinfold::cli::join
