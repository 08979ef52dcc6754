#include "cli/config/remark.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace pinfold::cli {
namespace {

constexpr std::size_t longest_remark = 1000;  ///< In bytes.

}  // namespace

const char* name_of(Severity severity) {
  switch (severity) {
    case Severity::error: return "error";
    case Severity::warning: return "warning";
    case Severity::notice: return "notice";
  }
  return "";
}

std::string Remark::text() const {
  std::string place = line == 0 ? source : fmt::format("{}:{}", source, line);
  if (!place.empty()) place += ": ";
  const std::string kind = severity == Severity::error ? "" : fmt::format("{}: ", name_of(severity));
  std::string shown = printable(place + kind + message);
  // A value can have a megabyte. Not within a character of UTF-8, whose later bytes are 10xxxxxx.
  if (shown.size() <= longest_remark) return shown;
  std::size_t end = longest_remark;
  while (end > 0 && (static_cast<unsigned char>(shown[end]) & 0xc0) == 0x80) --end;
  return shown.substr(0, end) + "…";
}

bool has_errors(const Remarks& remarks) {
  return std::any_of(remarks.begin(), remarks.end(),
                     [](const Remark& remark) { return remark.severity == Severity::error; });
}

std::string printable(std::string_view text) {
  std::string shown;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    if (text[i] == '\n') {
      shown += "\\n";
    } else if (text[i] == '\t') {
      shown += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      shown += fmt::format("\\x{:02x}", byte);
    } else if (byte == 0xc2 && next >= 0x80 && next < 0xa0) {
      // U+0080 to U+009f: control characters as well, as UTF-8.
      shown += fmt::format("\\x{:02x}", next);
      ++i;
    } else {
      shown += text[i];
    }
  }
  return shown;
}

}  // namespace pinfold::cli
