// An io_uring that can do no more than transfers on one image.
#pragma once

#include <liburing.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <tl/expected.hpp>

namespace pinfold::devices::block {

/// An io_uring that is limited, before its first use and for good, to readv, writev, fsync and fallocate on
/// the one file that is registered with it. A seccomp filter does not see what is asked through a ring, so a
/// ring that could open files or sockets would be a hole in the monitor's sandbox.
class RestrictedRing {
 public:
  /// `wake` is an eventfd(2) that each completion raises. The error is an errno.
  [[nodiscard]] static tl::expected<std::unique_ptr<RestrictedRing>, int> make(unsigned depth, int file,
                                                                               int wake);
  /// The same for a file that is not known yet: set_file() names it, and nothing else of the ring can be
  /// changed.
  [[nodiscard]] static tl::expected<std::unique_ptr<RestrictedRing>, int> make_without_file(unsigned depth,
                                                                                            int wake);
  /// From here on make() fails with EPERM: the process will be killed if it sets up a ring.
  static void make_no_more();
  ~RestrictedRing();
  RestrictedRing(const RestrictedRing&) = delete;
  RestrictedRing& operator=(const RestrictedRing&) = delete;

  [[nodiscard]] io_uring* get() { return &ring_; }
  /// Of a ring that was made without a file: requests are for this one from now on; -1: for none. The error
  /// is an errno.
  [[nodiscard]] tl::expected<void, int> set_file(int file);
  /// Marks the request as one for the registered file, which the ring insists on.
  static void use_file(io_uring_sqe* request);

 private:
  RestrictedRing() = default;
  [[nodiscard]] static tl::expected<std::unique_ptr<RestrictedRing>, int> make(unsigned depth, int file,
                                                                               int wake, bool changeable);
  [[nodiscard]] int restrict_to(int file, int wake, bool changeable);

  io_uring ring_ = {};
  bool open_ = false;
};

/// Why this host has no io_uring for us, in a few words; nullopt: it has. For `pinfold doctor`.
[[nodiscard]] std::optional<std::string> why_no_io_uring();

}  // namespace pinfold::devices::block
