// A line of pinfold's messages, as programs read it: JSON, or an entry of systemd's journal.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pinfold::cli {

/// As syslog(3) numbers them.
enum class Severity : std::uint8_t { critical = 2, error = 3, warning = 4, info = 6, debug = 7 };

struct Message {
  Severity severity = Severity::info;
  std::vector<std::string> guests;  ///< Whom it is about: one, or all of the machine.
  std::string text;

  /// `line` is one that pinfold writes to stderr, without its newline: "pinfold: TEXT", with several guests
  /// "pinfold: GUEST: TEXT", or "[TIME] [pinfold] [LEVEL] TEXT" of the logger. Anything else is a text of
  /// severity info. `guests`: the names of the guests whose messages these are.
  [[nodiscard]] static Message of_line(std::string_view line, const std::vector<std::string>& guests);
};

/// One JSON object: "time" (RFC 3339, UTC, microseconds), "level", "guest" or "guests", "message". Bytes that
/// are no UTF-8 become U+FFFD.
[[nodiscard]] std::string json_of(const Message& message, std::chrono::system_clock::time_point time);

/// A datagram of systemd's journal ("Native Journal Protocol"): MESSAGE, PRIORITY, SYSLOG_IDENTIFIER, and
/// PINFOLD_GUEST for each guest. The text can't begin another field.
[[nodiscard]] std::string journal_datagram(const Message& message);

}  // namespace pinfold::cli
