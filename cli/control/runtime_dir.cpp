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

/// Null: not set.
const char* given_place() {
  const char* given = std::getenv("PINFOLD_RUNTIME_DIR");
  return given != nullptr && *given != '\0' ? given : nullptr;
}

/// A directory of this user's that at most its group may enter, and nobody else may write to.
tl::expected<void, std::string> check_shared_directory(const std::filesystem::path& directory) {
  struct stat found {};
  const auto wrong = [&](const char* what) {
    return tl::unexpected(fmt::format("PINFOLD_RUNTIME_DIR: {}: {}", directory.string(), what));
  };
  if (!directory.is_absolute()) return wrong("not an absolute path");
  if (::lstat(directory.c_str(), &found) != 0) return wrong(std::strerror(errno));
  if (!S_ISDIR(found.st_mode)) return wrong("not a directory");
  if (found.st_uid != ::geteuid()) return wrong("belongs to another user");
  if ((found.st_mode & 027) != 0)
    return wrong("others than its group may enter it, or its group may write to it");
  return {};
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
  if (const char* given = given_place(); given != nullptr) {
    if (auto usable = check_shared_directory(given); !usable) return tl::unexpected(usable.error());
    return given;
  }
  std::filesystem::path directory = place();
  if (auto made = make_private_directory(directory); !made) return tl::unexpected(made.error());
  return directory;
}

tl::expected<std::vector<std::filesystem::path>, std::string> guest_directories() {
  if (const char* given = given_place(); given != nullptr) {
    if (::access(given, R_OK | X_OK) == 0) return std::vector<std::filesystem::path>{given};
    return tl::unexpected(fmt::format("PINFOLD_RUNTIME_DIR: {}: {}", given, std::strerror(errno)));
  }
  auto own = runtime_directory();
  std::vector<std::filesystem::path> all;
  if (own) all.push_back(std::move(*own));
  const std::filesystem::path of_services(service_directory);
  if (::access(of_services.c_str(), R_OK | X_OK) == 0) all.push_back(of_services);
  if (all.empty()) return tl::unexpected(own.error());
  return all;
}

bool is_for_group(const std::filesystem::path& directory) {
  struct stat found {};
  return ::stat(directory.c_str(), &found) == 0 && (found.st_mode & 050) == 050;
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
