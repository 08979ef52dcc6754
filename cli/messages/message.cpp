#include "cli/messages/message.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace pinfold::cli {
namespace {

struct Level {
  std::string_view of_logger;
  Severity severity;
};
constexpr std::array<Level, 6> levels{{{"critical", Severity::critical},
                                       {"error", Severity::error},
                                       {"warning", Severity::warning},
                                       {"info", Severity::info},
                                       {"debug", Severity::debug},
                                       {"trace", Severity::debug}}};

std::string_view name_of(Severity severity) {
  return std::ranges::find(levels, severity, &Level::severity)->of_logger;
}

/// Takes "[TIME] [pinfold] [LEVEL] " from the beginning of a line of spdlog's.
std::optional<Severity> take_loggers_head(std::string_view& line) {
  constexpr std::string_view middle = "] [pinfold] [";
  if (!line.starts_with('[')) return std::nullopt;
  const auto time_end = line.find(']');
  if (time_end == std::string_view::npos || !line.substr(time_end).starts_with(middle)) return std::nullopt;
  const std::string_view rest = line.substr(time_end + middle.size());
  for (const Level& level : levels)
    if (rest.starts_with(level.of_logger) && rest.substr(level.of_logger.size()).starts_with("] ")) {
      line = rest.substr(level.of_logger.size() + 2);
      return level.severity;
    }
  return std::nullopt;
}

/// Takes the name of one of several guests, with its colon.
std::optional<std::string> take_guest(std::string_view& line, const std::vector<std::string>& guests) {
  for (const std::string& guest : guests)
    if (line.starts_with(guest) && line.substr(guest.size()).starts_with(": ")) {
      line.remove_prefix(guest.size() + 2);
      return guest;
    }
  return std::nullopt;
}

/// A field whose value may have any bytes: its length goes before it, 64 bits, little-endian.
void add_field(std::string& to, std::string_view name, std::string_view value) {
  constexpr unsigned bits = 64, byte = 8;
  to += name;
  to += '\n';
  for (unsigned shift = 0; shift < bits; shift += byte)
    to += static_cast<char>(static_cast<std::uint64_t>(value.size()) >> shift & 0xff);
  to += value;
  to += '\n';
}

}  // namespace

Message Message::of_line(std::string_view line, const std::vector<std::string>& guests) {
  Message message;
  constexpr std::string_view own = "pinfold: ";
  if (const auto severity = take_loggers_head(line))
    message.severity = *severity;
  else if (line.starts_with(own))
    line.remove_prefix(own.size());
  auto guest = guests.size() > 1 ? take_guest(line, guests) : std::nullopt;
  message.guests = guest ? std::vector{std::move(*guest)} : guests;
  message.text = line;
  return message;
}

std::string json_of(const Message& message, std::chrono::system_clock::time_point time) {
  // Not by gmtime(3), which reads files.
  const auto us = std::chrono::floor<std::chrono::microseconds>(time);
  const auto day = std::chrono::floor<std::chrono::days>(us);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(us - day);
  nlohmann::ordered_json object{
      {"time", fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", static_cast<int>(date.year()),
                           static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                           clock.hours().count(), clock.minutes().count(), clock.seconds().count(),
                           clock.subseconds().count())},
      {"level", name_of(message.severity)}};
  if (message.guests.size() == 1)
    object["guest"] = message.guests.front();
  else
    object["guests"] = message.guests;
  object["message"] = message.text;
  return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string journal_datagram(const Message& message) {
  std::string datagram;
  add_field(datagram, "MESSAGE", message.text);
  add_field(datagram, "PRIORITY", std::to_string(static_cast<unsigned>(message.severity)));
  add_field(datagram, "SYSLOG_IDENTIFIER", "pinfold");
  for (const std::string& guest : message.guests) add_field(datagram, "PINFOLD_GUEST", guest);
  return datagram;
}

}  // namespace pinfold::cli
