// The error codes of the hypercall ABI, as values of their own type (xen/errno.h).
#pragma once

#include <cstdint>
#include <tl/expected.hpp>

namespace pinfold {

/// A hypercall's error. The guest receives it negated in RAX.
enum class Errno : std::int32_t {
  eperm = 1,
  enoent = 2,
  esrch = 3,
  eintr = 4,
  e2big = 7,
  enxio = 6,
  enoexec = 8,
  eagain = 11,
  enomem = 12,
  eacces = 13,
  efault = 14,
  ebusy = 16,
  eexist = 17,
  enodev = 19,
  einval = 22,
  enospc = 28,
  erange = 34,
  enosys = 38,
  enodata = 61,
  etime = 62,
  erestart = 85,
  eopnotsupp = 95,
};

/// The outcome of an operation that a guest asked for: nothing, or the code it is told.
using Status = tl::expected<void, Errno>;

[[nodiscard]] inline tl::unexpected<Errno> fail(Errno e) { return tl::unexpected<Errno>(e); }

/// What RAX holds after the hypercall.
[[nodiscard]] constexpr std::int64_t to_rax(Errno e) { return -static_cast<std::int64_t>(e); }
[[nodiscard]] inline std::int64_t to_rax(const Status& s) { return s ? 0 : to_rax(s.error()); }

}  // namespace pinfold
