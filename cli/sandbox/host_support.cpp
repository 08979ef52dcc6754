#include "sandbox/host_support.hpp"

#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "sandbox/landlock.hpp"

namespace pinfold::sandbox {
namespace {

/// In words, since they are the same for both: the kernel lacks it, or somebody forbids it.
std::string reason(int error) {
  switch (error) {
    case ENOSYS: return "the kernel has none, or a container's filter says so";
    case EOPNOTSUPP: return "it is switched off (the kernel's parameter lsm=)";
    case EPERM:
    case EACCES: return "forbidden, as by a container's filter";
    default: return std::strerror(error);
  }
}

int seccomp_error() {
  const std::uint32_t action = SECCOMP_RET_TRAP;
  return ::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0 ? 0 : errno;
}

}  // namespace

HostSupport host_support() {
  HostSupport support;
  if (const int error = seccomp_error(); error != 0) support.no_seccomp = reason(error);
  const int version = landlock_version();
  support.landlock_version = std::max(0, version);
  if (version <= 0) support.no_landlock = reason(-version);
  return support;
}

}  // namespace pinfold::sandbox
