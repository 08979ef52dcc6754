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

}  // namespace
}  // namespace pinfold::devices::block
