// A ring that can do no more than transfers: what a sandbox relies on.
#include <fcntl.h>
#include <gtest/gtest.h>

#include "devices/block/restricted_ring.hpp"
#include "devices/wake_fd.hpp"
#include "image_files.hpp"

namespace pinfold::devices::block {
namespace {

class RestrictedRingTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = why_no_io_uring()) GTEST_SKIP() << "no io_uring: " << *why;
    auto made = RestrictedRing::make(8, file.get(), wake.get());
    ASSERT_TRUE(made) << made.error();
    ring = std::move(*made);
  }
  /// The answer to one request.
  template <class Prepare>
  int ask(Prepare prepare) {
    io_uring_sqe* const request = io_uring_get_sqe(ring->get());
    prepare(request);
    io_uring_submit(ring->get());
    io_uring_cqe* answer = nullptr;
    if (io_uring_wait_cqe(ring->get(), &answer) != 0) return -1;
    const int result = answer->res;
    io_uring_cqe_seen(ring->get(), answer);
    return result;
  }

  TemporaryFolder folder;
  vmm::Fd file{::open(folder.image(4096).c_str(), O_RDWR | O_CLOEXEC)};
  WakeFd wake = *WakeFd::make();
  std::unique_ptr<RestrictedRing> ring;
  char bytes[512] = {};
  iovec piece = {bytes, sizeof bytes};
};

TEST_F(RestrictedRingTest, does_what_a_disk_needs) {
  EXPECT_EQ(ask([&](auto* request) {
              io_uring_prep_writev(request, 0, &piece, 1, 0);
              RestrictedRing::use_file(request);
            }),
            512);
  EXPECT_EQ(ask([&](auto* request) {
              io_uring_prep_fsync(request, 0, IORING_FSYNC_DATASYNC);
              RestrictedRing::use_file(request);
            }),
            0);
}

TEST_F(RestrictedRingTest, opens_nothing_and_connects_nowhere) {
  EXPECT_EQ(ask([&](auto* request) { io_uring_prep_openat(request, AT_FDCWD, "/", O_RDONLY, 0); }), -EACCES);
  EXPECT_EQ(ask([&](auto* request) {
              io_uring_prep_openat(request, AT_FDCWD, "/", O_RDONLY, 0);
              io_uring_sqe_set_flags(request, IOSQE_FIXED_FILE);
            }),
            -EACCES);
  EXPECT_EQ(ask([&](auto* request) {
              io_uring_prep_socket(request, AF_INET, SOCK_STREAM, 0, 0);
              io_uring_sqe_set_flags(request, IOSQE_FIXED_FILE);
            }),
            -EACCES);
}

TEST_F(RestrictedRingTest, uses_no_file_but_its_own) {
  EXPECT_EQ(ask([&](auto* request) { io_uring_prep_readv(request, file.get(), &piece, 1, 0); }), -EACCES);
  EXPECT_EQ(ask([&](auto* request) {
              io_uring_prep_readv(request, 1, &piece, 1, 0);  // The second registered file: there is none.
              io_uring_sqe_set_flags(request, IOSQE_FIXED_FILE);
            }),
            -EBADF);
}

TEST_F(RestrictedRingTest, registers_nothing_more) {
  const int other = wake.get();
  EXPECT_EQ(io_uring_register_files(ring->get(), &other, 1), -EACCES);
  EXPECT_EQ(io_uring_unregister_files(ring->get()), -EACCES);
  EXPECT_EQ(io_uring_register_buffers(ring->get(), &piece, 1), -EACCES);
}

/// A ring for disks that come later.
class RingWithoutFile : public RestrictedRingTest {
 protected:
  void SetUp() override {
    RestrictedRingTest::SetUp();
    if (IsSkipped()) return;
    auto made = RestrictedRing::make_without_file(8, wake.get());
    ASSERT_TRUE(made) << made.error();
    ring = std::move(*made);
  }
  int write() {
    return ask([&](auto* request) {
      io_uring_prep_writev(request, 0, &piece, 1, 0);
      RestrictedRing::use_file(request);
    });
  }
};

TEST_F(RingWithoutFile, serves_the_file_that_it_is_given_and_no_other) {
  EXPECT_EQ(write(), -EBADF);
  ASSERT_TRUE(ring->set_file(file.get()));
  EXPECT_EQ(write(), 512);
  ASSERT_TRUE(ring->set_file(-1));
  EXPECT_EQ(write(), -EBADF);
  EXPECT_FALSE(ring->set_file(12345));
}

TEST_F(RingWithoutFile, can_do_no_more_than_others) {
  ASSERT_TRUE(ring->set_file(file.get()));
  EXPECT_EQ(ask([&](auto* request) {
              io_uring_prep_openat(request, AT_FDCWD, "/", O_RDONLY, 0);
              io_uring_sqe_set_flags(request, IOSQE_FIXED_FILE);
            }),
            -EACCES);
  EXPECT_EQ(ask([&](auto* request) { io_uring_prep_writev(request, file.get(), &piece, 1, 0); }), -EACCES);
  const int fd = file.get();
  const auto number = static_cast<unsigned>(ring->get()->ring_fd);
  EXPECT_EQ(io_uring_register(number, IORING_REGISTER_EVENTFD, &fd, 1), -EACCES);
  EXPECT_EQ(io_uring_register(number, IORING_UNREGISTER_FILES, nullptr, 0), -EACCES);
  iovec buffer = piece;
  EXPECT_EQ(io_uring_register(number, IORING_REGISTER_BUFFERS, &buffer, 1), -EACCES);
}

TEST_F(RestrictedRingTest, keeps_its_file) { EXPECT_EQ(ring->set_file(file.get()).error(), EACCES); }

}  // namespace
}  // namespace pinfold::devices::block
