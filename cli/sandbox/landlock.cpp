#include "sandbox/landlock.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

namespace pinfold::sandbox {
namespace {

// linux/landlock.h of Linux 6.12. Older headers lack what later versions brought.
struct RulesetAttribute {
  std::uint64_t handled_access_fs;
  std::uint64_t handled_access_net;
  std::uint64_t scoped;
};
constexpr unsigned long create_ruleset_version = 1;

/// The rights over files, by the version that brought them; the lower bits are those of the versions before.
constexpr std::array<std::uint64_t, 5> file_rights{
    (1U << 13) - 1,  // execute, read, write, remove, make
    (1U << 14) - 1,  // refer
    (1U << 15) - 1,  // truncate
    (1U << 15) - 1,
    (1U << 16) - 1,  // ioctl of devices
};
constexpr int version_with_networks = 4, version_with_scopes = 6;
constexpr std::uint64_t bind_and_connect = 3;              // of TCP
constexpr std::uint64_t abstract_sockets_and_signals = 3;  // outside of this sandbox

}  // namespace

int landlock_version() {
  const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0UL, create_ruleset_version);
  return version < 0 ? -errno : static_cast<int>(version);
}

int forbid_paths(int version) {
  RulesetAttribute all{};
  const auto known = std::min<std::size_t>(static_cast<std::size_t>(version), file_rights.size());
  all.handled_access_fs = file_rights.at(known - 1);
  if (version >= version_with_networks) all.handled_access_net = bind_and_connect;
  if (version >= version_with_scopes) all.scoped = abstract_sockets_and_signals;
  // An older kernel takes the longer structure, since what it does not know is zero.
  const long ruleset = ::syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0UL);
  if (ruleset < 0) return errno;
  const int error = ::syscall(SYS_landlock_restrict_self, static_cast<int>(ruleset), 0UL) == 0 ? 0 : errno;
  ::close(static_cast<int>(ruleset));
  return error;
}

}  // namespace pinfold::sandbox
