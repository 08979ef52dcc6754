#include "cli/bootloader/menu_prompt.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <string>

#include "loader/boot_menu/text_lines.hpp"
#include "loader/load_error.hpp"

namespace pinfold::cli::bootloader {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int seconds_if_none = 10;
constexpr auto never = Clock::time_point::max();
constexpr std::size_t most_shown = 100, longest_line = 100;

void print(int output, const std::string& text) {
  std::string_view left = text;
  while (!left.empty()) {
    const auto written = ::write(output, left.data(), left.size());
    if (written < 0 && errno != EINTR) return;
    if (written > 0) left.remove_prefix(static_cast<std::size_t>(written));
  }
}

/// Numbers from 1, of what can be chosen; submenus are headings.
std::string text_of(const boot_menu::Menu& menu) {
  std::string text;
  const std::size_t shown = std::min(menu.entries.size(), most_shown);
  for (std::size_t i = 0; i < shown; ++i) {
    const auto& entry = menu.entries[i];
    const auto depth = static_cast<std::size_t>(std::count(entry.parent.begin(), entry.parent.end(), '>'));
    const std::string title = loader::printable(entry.title, 70);
    const std::string indent(2 * std::min<std::size_t>(depth, 8), ' ');
    text += entry.is_submenu
                ? fmt::format("      {}{}:\n", indent, title)
                : fmt::format("{:>4}{} {}{}\n", i + 1, i == menu.chosen ? "*" : " ", indent, title);
  }
  if (shown < menu.entries.size()) text += fmt::format("      and {} more\n", menu.entries.size() - shown);
  return text;
}

/// A line without its end; nullopt: the time is up, or nothing comes any more.
class LineReader {
 public:
  explicit LineReader(int input) : input_(input) {}

  std::optional<std::string> next(Clock::time_point& deadline) {
    std::string line;
    for (;;) {
      int wait = -1;
      if (deadline != never)
        wait = static_cast<int>(std::max<std::int64_t>(
            0, std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count()));
      pollfd ready{input_, POLLIN, 0};
      const int polled = ::poll(&ready, 1, wait);
      if (polled < 0 && errno == EINTR) continue;
      if (polled <= 0) return std::nullopt;
      char c = 0;
      const auto got = ::read(input_, &c, 1);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return std::nullopt;
      deadline = never;
      if (c == '\n') return line;
      if (line.size() < longest_line) line += c;
    }
  }

 private:
  int input_;
};

}  // namespace

std::size_t prompt_for_entry(const boot_menu::Menu& menu, int input, int output) {
  const int seconds = menu.timeout_seconds >= 0 ? menu.timeout_seconds : seconds_if_none;
  Clock::time_point deadline = Clock::now() + std::chrono::seconds(seconds);
  print(output, text_of(menu));
  LineReader reader(input);
  for (;;) {
    print(output, fmt::format("number of the entry to boot [{}]{}: ", menu.chosen + 1,
                              deadline != never ? fmt::format(", within {} s", seconds) : ""));
    const auto line = reader.next(deadline);
    const auto word = line ? boot_menu::trimmed(*line) : std::string_view();
    if (!line) print(output, "\n");
    if (word.empty()) return menu.chosen;
    const auto number = boot_menu::small_number(word);
    if (number && *number >= 1 && static_cast<std::size_t>(*number) <= menu.entries.size()) {
      const auto index = static_cast<std::size_t>(*number) - 1;
      if (!menu.entries[index].is_submenu) return index;
    }
    print(output, "there is no such entry\n");
  }
}

}  // namespace pinfold::cli::bootloader
