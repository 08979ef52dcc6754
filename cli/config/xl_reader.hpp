// The values of a parsed xl.cfg, by key and kind.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/config/remark.hpp"
#include "cli/config/xl_answer.hpp"
#include "cli/config/xl_scanner.hpp"

namespace pinfold::cli {

/// An item of a list, and its place.
struct XlItem {
  std::string text;
  unsigned line = 0;
  std::size_t index = 0;
};

/// Converts values as xl does, and notes an error with the line where xl would warn and go on.
class XlReader {
 public:
  /// Of an answer without syntax errors; `keys` are those of the same text.
  XlReader(std::string source, std::vector<XlKey> keys, XlValues values)
      : source_(std::move(source)), keys_(std::move(keys)), values_(std::move(values)) {}

  /// Nothing if the file does not have the key, and if the value is of another kind, which is an error.
  [[nodiscard]] std::optional<std::string> text(std::string_view key);
  /// As strtol() with base 0 has it: 10, 0x10 and 010 are numbers, "10" as well, "10MB" is not.
  [[nodiscard]] std::optional<std::int64_t> number(std::string_view key, std::int64_t least,
                                                   std::int64_t most);
  [[nodiscard]] std::optional<bool> flag(std::string_view key);
  [[nodiscard]] bool is_list(std::string_view key) const;
  [[nodiscard]] std::vector<XlItem> list(std::string_view key);
  /// A list, or a text, which is split at blanks.
  [[nodiscard]] std::vector<std::string> words(std::string_view key);

  [[nodiscard]] const std::vector<XlKey>& keys() const { return keys_; }
  /// Whether the value says nothing: an empty text, 0, an empty list.
  [[nodiscard]] bool is_none(std::string_view key) const;
  /// Where the key has its value; line 0 if it has none.
  [[nodiscard]] Remark remark(Severity severity, std::string_view key, std::string message) const;
  void error(std::string_view key, std::string message);
  void add(Remark remark) { remarks_.push_back(std::move(remark)); }
  [[nodiscard]] Remarks& remarks() { return remarks_; }

 private:
  [[nodiscard]] const XlKey* find(std::string_view key) const;
  [[nodiscard]] const XlValue* value(std::string_view key) const;

  std::string source_;
  std::vector<XlKey> keys_;
  XlValues values_;
  Remarks remarks_;
};

}  // namespace pinfold::cli
