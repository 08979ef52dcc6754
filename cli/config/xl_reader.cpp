#include "cli/config/xl_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <limits>

namespace pinfold::cli {
namespace {

static_assert(sizeof(long) == sizeof(std::int64_t));

/// Nothing for what is no number. A number that does not fit is the nearest one that does.
std::optional<std::int64_t> to_number(const std::string& text) {
  char* end = nullptr;
  const std::int64_t number = std::strtol(text.c_str(), &end, 0);
  if (end == text.c_str() || end != text.c_str() + text.size()) return std::nullopt;
  return number;
}

std::vector<std::string> split_at_blanks(const std::string& text) {
  constexpr const char* blanks = " \t\n";
  std::vector<std::string> words;
  for (auto start = text.find_first_not_of(blanks); start != std::string::npos;) {
    const auto end = std::min(text.find_first_of(blanks, start), text.size());
    words.push_back(text.substr(start, end - start));
    start = text.find_first_not_of(blanks, end);
  }
  return words;
}

}  // namespace

const XlKey* XlReader::find(std::string_view key) const {
  const auto found =
      std::find_if(keys_.begin(), keys_.end(), [key](const XlKey& known) { return known.name == key; });
  return found == keys_.end() ? nullptr : &*found;
}

const XlValue* XlReader::value(std::string_view key) const {
  const auto found = values_.find(std::string(key));
  return found == values_.end() ? nullptr : &found->second;
}

Remark XlReader::remark(Severity severity, std::string_view key, std::string message) const {
  const XlKey* known = find(key);
  return {severity, source_, known == nullptr ? 0 : known->line, std::move(message)};
}

void XlReader::error(std::string_view key, std::string message) {
  add(remark(Severity::error, key, fmt::format("{}: {}", key, message)));
}

std::optional<std::string> XlReader::text(std::string_view key) {
  const XlValue* found = value(key);
  if (found == nullptr) return std::nullopt;
  if (const auto* text = std::get_if<std::string>(found)) return *text;
  error(key, "a list; it takes one value");
  return std::nullopt;
}

std::optional<std::int64_t> XlReader::number(std::string_view key, std::int64_t least, std::int64_t most) {
  const auto written = text(key);
  if (!written) return std::nullopt;
  const auto number = to_number(*written);
  if (!number)
    error(key, fmt::format("not a number: {}", *written));
  else if (find(key)->is_added)
    error(key, "a number can't be set with +=");
  else if (*number < least || *number > most)
    error(key, fmt::format("{} is not between {} and {}", *written, least, most));
  else
    return number;
  return std::nullopt;
}

std::optional<bool> XlReader::flag(std::string_view key) {
  const auto number =
      this->number(key, std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max());
  if (!number) return std::nullopt;
  return *number != 0;
}

bool XlReader::is_list(std::string_view key) const {
  const XlValue* found = value(key);
  return found != nullptr && std::holds_alternative<XlList>(*found);
}

std::vector<XlItem> XlReader::list(std::string_view key) {
  std::vector<XlItem> items;
  const XlValue* found = value(key);
  if (found == nullptr) return items;
  const auto* list = std::get_if<XlList>(found);
  if (list == nullptr) {
    error(key, "not a list: write [ … ]");
    return items;
  }
  const XlKey& known = *find(key);
  for (std::size_t i = 0; i < list->size(); ++i) {
    const unsigned line = known.item_lines.size() == list->size() ? known.item_lines[i] : known.line;
    if ((*list)[i])
      items.push_back({*(*list)[i], line, i});
    else
      add({Severity::error, source_, line, fmt::format("{}[{}]: a list; it takes a text", key, i)});
  }
  return items;
}

std::vector<std::string> XlReader::words(std::string_view key) {
  const XlValue* found = value(key);
  if (found == nullptr) return {};
  if (const auto* text = std::get_if<std::string>(found)) return split_at_blanks(*text);
  std::vector<std::string> words;
  for (XlItem& item : list(key)) words.push_back(std::move(item.text));
  return words;
}

bool XlReader::is_none(std::string_view key) const {
  const XlValue* found = value(key);
  if (found == nullptr) return true;
  if (const auto* list = std::get_if<XlList>(found)) return list->empty();
  const auto& text = std::get<std::string>(*found);
  return text.empty() || to_number(text) == 0;
}

}  // namespace pinfold::cli
