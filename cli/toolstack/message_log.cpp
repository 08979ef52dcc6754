#include "cli/toolstack/message_log.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "cli/console/log.hpp"
#include "cli/control/runtime_dir.hpp"
#include "sandbox/helper.hpp"

namespace pinfold::cli {
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
  const std::filesystem::path old = log.string() + ".old";
  std::error_code ignored;
  std::filesystem::rename(log, old, ignored);
  auto files = LogFiles::open({log, old}, longest_log);
  const auto say = [&](const std::string& what) {
    if (files) (void)files->append(fmt::format("pinfold: {}\n", what));
  };
  if (const auto confined = sandbox::confine_helper(sandbox::Helper::keeper); !confined)
    say("the process that keeps this log is not confined as it should be: " + confined.error());
  std::array<char, 4096> piece{};
  for (;;) {
    const ssize_t n = ::read(pipe.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    // Without a log the messages are taken all the same: the guest does not wait for them.
    if (files) (void)files->append({piece.data(), static_cast<std::size_t>(n)});
  }
}

}  // namespace pinfold::cli
