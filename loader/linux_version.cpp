#include "loader/linux_version.hpp"

#include <algorithm>
#include <charconv>
#include <functional>
#include <string_view>

namespace pinfold::loader {
namespace {

using namespace std::string_view_literals;

/// "6.16" at the beginning of `text`; what follows does not matter.
std::optional<LinuxVersion> read_version(std::string_view text) {
  LinuxVersion version;
  const char* const end = text.data() + text.size();
  const auto major = std::from_chars(text.data(), end, version.major);
  if (major.ec != std::errc{} || major.ptr == end || *major.ptr != '.') return std::nullopt;
  const auto minor = std::from_chars(major.ptr + 1, end, version.minor);
  if (minor.ec != std::errc{}) return std::nullopt;
  return version;
}

std::optional<LinuxVersion> version_in(std::string_view bytes) {
  constexpr auto banner = "Linux version "sv;
  const std::boyer_moore_horspool_searcher find(banner.begin(), banner.end());
  for (auto at = bytes.begin();;) {
    const auto [begin, end] = find(at, bytes.end());
    if (begin == bytes.end()) return std::nullopt;
    if (const auto version = read_version(bytes.substr(static_cast<std::size_t>(end - bytes.begin()))))
      return version;
    at = end;
  }
}

}  // namespace

std::optional<LinuxVersion> linux_version_of(const KernelImage& kernel) {
  if (kernel.notes.guest_os && *kernel.notes.guest_os != "linux") return std::nullopt;
  for (const Segment& segment : kernel.segments) {
    const auto* const bytes = reinterpret_cast<const char*>(segment.file.data());
    if (const auto version = version_in({bytes, segment.file.size()})) return version;
  }
  return std::nullopt;
}

}  // namespace pinfold::loader
