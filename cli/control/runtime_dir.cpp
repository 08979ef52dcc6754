#include "cli/control/runtime_dir.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace pinfold::cli {
namespace {

std::filesystem::path place() {
  std::error_code ignored;
  const char* given = std::getenv("XDG_RUNTIME_DIR");
  if (given != nullptr && *given == '/' && std::filesystem::is_directory(given, ignored))
    return std::filesystem::path(given) / "pinfold";
  const std::string user = std::to_string(::geteuid());
  const std::filesystem::path run = "/run/user/" + user;
  if (std::filesystem::is_directory(run, ignored)) return run / "pinfold";
  return "/tmp/pinfold-" + user;
}

}  // namespace

tl::expected<void, std::string> make_private_directory(const std::filesystem::path& directory) {
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return tl::unexpected(fmt::format("{}: {}", directory.string(), std::strerror(errno)));
  struct stat found {};
  // Another user may have made the directory first (in /tmp), and could then replace the sockets in it.
  if (::lstat(directory.c_str(), &found) != 0)
    return tl::unexpected(fmt::format("{}: {}", directory.string(), std::strerror(errno)));
  if (!S_ISDIR(found.st_mode)) return tl::unexpected(directory.string() + " is not a directory");
  if (found.st_uid != ::geteuid()) return tl::unexpected(directory.string() + " belongs to another user");
  if ((found.st_mode & 077) != 0) return tl::unexpected(directory.string() + " is open to other users");
  return {};
}

tl::expected<std::filesystem::path, std::string> runtime_directory() {
  std::filesystem::path directory = place();
  if (auto made = make_private_directory(directory); !made) return tl::unexpected(made.error());
  return directory;
}

bool is_guest_name(std::string_view name) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= longest_guest_name && name[0] != '.' &&
         std::ranges::all_of(name, plain);
}

}  // namespace pinfold::cli
