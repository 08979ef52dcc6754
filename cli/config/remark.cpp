#include "cli/config/remark.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace pinfold::cli {

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
  return printable(place + kind + message);
}

bool has_errors(const Remarks& remarks) {
  return std::any_of(remarks.begin(), remarks.end(),
                     [](const Remark& remark) { return remark.severity == Severity::error; });
}

std::string printable(std::string_view text) {
  std::string shown;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n')
      shown += "\\n";
    else if (c == '\t')
      shown += "\\t";
    else if (byte < 0x20 || byte == 0x7f)
      shown += fmt::format("\\x{:02x}", byte);
    else
      shown += c;
  }
  return shown;
}

}  // namespace pinfold::cli
