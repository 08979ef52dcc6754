#include "cli/toolstack/message_log.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "cli/control/runtime_dir.hpp"

namespace pinfold::cli {
namespace {

vmm::Fd new_log(const std::filesystem::path& log) {
  std::error_code ignored;
  std::filesystem::rename(log, log.string() + ".old", ignored);
  return vmm::Fd(::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
}

}  // namespace

tl::expected<std::filesystem::path, std::string> log_directory() {
  const char* given = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path parent;
  if (given != nullptr && *given == '/')
    parent = given;
  else if (home != nullptr && *home == '/')
    parent = std::filesystem::path(home) / ".local/state";
  else
    return tl::unexpected(std::string("no place for the guest's log: set XDG_STATE_HOME"));
  std::error_code error;
  std::filesystem::create_directories(parent, error);
  if (error) return tl::unexpected(fmt::format("{}: {}", parent.string(), error.message()));
  auto directory = parent / "pinfold";
  if (auto made = make_private_directory(directory); !made) return tl::unexpected(made.error());
  return directory;
}

void keep_log(const vmm::Fd& pipe, const std::filesystem::path& log) {
  vmm::Fd file = new_log(log);
  std::size_t written = 0;
  std::array<char, 4096> piece{};
  for (;;) {
    const ssize_t n = ::read(pipe.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    const auto size = static_cast<std::size_t>(n);
    if (written + size > longest_log) {
      file = new_log(log);
      written = 0;
    }
    (void)!::write(file.get(), piece.data(), size);
    written += size;
  }
}

}  // namespace pinfold::cli
