// Where a guest's console is.
#pragma once

#include <cstdint>
#include <filesystem>

namespace pinfold::cli {

enum class ConsolePlace : std::uint8_t {
  stdio,  ///< stdin and stdout; nothing of the output is lost.
  pty,    ///< A pseudo-terminal, whose path is told.
  none,   ///< Only the socket, and the log if there is one.
};

struct ConsoleOptions {
  ConsolePlace place = ConsolePlace::stdio;
  std::filesystem::path log;                         ///< Empty: no log.
  std::uint64_t log_bytes = std::uint64_t{1} << 20;  ///< A log of this size becomes an old one.
  bool named =
      false;  ///< On stdout and stderr, lines of and about the guest have its name: there are others.
  std::uint32_t old_logs = 4;  ///< How many old ones are kept: LOG.1 is the newest.
};

/// The most old logs that are kept: each is an open file.
inline constexpr std::uint32_t most_old_logs = 16;

}  // namespace pinfold::cli
