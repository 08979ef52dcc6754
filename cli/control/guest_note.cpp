#include "cli/control/guest_note.hpp"

#include <fmt/format.h>

#include <charconv>

namespace pinfold::cli {

std::string GuestNote::text() const { return fmt::format("{} {} {}\n", id, supervisor, monitor); }

GuestNote GuestNote::parse(std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto number = [&](auto& to) {
    const auto [next, error] = std::from_chars(at, end, to);
    // Each number ends with one character, the last with the line.
    if (error != std::errc() || next == end) return false;
    at = next + 1;
    return true;
  };
  GuestNote note;
  if (number(note.id) && number(note.supervisor) && number(note.monitor) && note.supervisor > 0 &&
      note.monitor >= 0)
    return note;
  return {};
}

}  // namespace pinfold::cli
