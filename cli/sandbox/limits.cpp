#include "sandbox/limits.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace pinfold::sandbox {
namespace {

/// One more than the highest.
rlim_t descriptors_in_use() {
  rlim_t end = 3;
  std::error_code error;
  for (std::filesystem::directory_iterator at("/proc/self/fd", error), none; !error && at != none;
       at.increment(error))
    end = std::max<rlim_t>(end, std::strtoull(at->path().filename().c_str(), nullptr, 10) + 1);
  return end;
}

}  // namespace

tl::expected<void, std::string> set_limits(std::uint64_t more, std::uint64_t welcome) {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0)
    return tl::unexpected(std::string("getrlimit: ") + std::strerror(errno));
  const rlim_t needed = descriptors_in_use() + more;
  if (files.rlim_max < needed)
    return tl::unexpected("the guest needs " + std::to_string(needed) + " descriptors, and the limit is " +
                          std::to_string(files.rlim_max) + ": raise it (ulimit -Hn " +
                          std::to_string(needed) + ")");
  const rlim_t most = files.rlim_max - needed < welcome ? files.rlim_max : needed + welcome;
  files = {most, most};
  const rlimit none{0, 0};
  if (::setrlimit(RLIMIT_NOFILE, &files) != 0)
    return tl::unexpected(std::string("setrlimit: ") + std::strerror(errno));
  for (const auto resource : {RLIMIT_MSGQUEUE, RLIMIT_NICE, RLIMIT_RTPRIO})
    (void)::setrlimit(resource, &none);
  return {};
}

}  // namespace pinfold::sandbox
