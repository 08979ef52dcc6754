// What there is to say about a configuration: errors, warnings and notices, each with its place.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pinfold::cli {

enum class Severity : std::uint8_t { error, warning, notice };

/// One thing to say. A notice is about something that is right but has no effect here.
struct Remark {
  Severity severity = Severity::error;
  std::string source;  ///< The file as the user named it, or an option: "--disk".
  unsigned line = 0;   ///< In the file, from 1; 0: the whole file, or an option.
  std::string message;

  /// "guest.cfg:3: warning: …", in one line of printable characters. An error has no word before it.
  [[nodiscard]] std::string text() const;
};
using Remarks = std::vector<Remark>;

[[nodiscard]] bool has_errors(const Remarks& remarks);

/// "error", "warning" or "notice".
[[nodiscard]] const char* name_of(Severity severity);

/// The text with control characters as \n, \t or \x1b. Bytes above 0x7f stay, as they may be UTF-8.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace pinfold::cli
