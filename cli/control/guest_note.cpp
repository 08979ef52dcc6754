#include "cli/control/guest_note.hpp"

#include <fmt/format.h>

#include <charconv>

namespace pinfold::cli {

std::string GuestNote::text() const {
  return fmt::format("{} {} {} {}{}{}\n", id, supervisor, monitor, life, shared ? " shared" : "",
                     preserved ? " preserved" : "");
}

GuestNote GuestNote::parse(std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto number = [&](auto& to) {
    const auto [next, error] = std::from_chars(at, end, to);
    // Each number ends with one character.
    if (error != std::errc() || next == end) return false;
    at = next + 1;
    return true;
  };
  GuestNote note;
  if (number(note.id) && number(note.supervisor) && number(note.monitor) && number(note.life) &&
      note.supervisor > 0 && note.monitor >= 0) {
    const std::string_view words(at, static_cast<std::size_t>(end - at));
    note.shared = words.starts_with("shared");
    note.preserved = words.find("preserved") != std::string_view::npos;
    return note;
  }
  return {};
}

}  // namespace pinfold::cli
