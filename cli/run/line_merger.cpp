#include "cli/run/line_merger.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::cli {
namespace {

constexpr std::byte line_end{'\n'};

}  // namespace

LineMerger::LineMerger(std::vector<std::string> names, std::string line_break)
    : guests_(names.size()), line_break_(std::move(line_break)) {
  for (std::size_t n = 0; n < names.size(); ++n) guests_[n].name = std::move(names[n]);
}

void LineMerger::add(std::size_t guest, std::span<const std::byte> bytes, Clock::time_point now) {
  Guest& g = guests_[guest];
  g.bytes.insert(g.bytes.end(), bytes.begin(), bytes.end());
  g.line_ends += static_cast<std::size_t>(std::count(bytes.begin(), bytes.end(), line_end));
  g.latest = now;
}

bool LineMerger::empty() const {
  return std::all_of(guests_.begin(), guests_.end(), [](const Guest& g) { return g.bytes.empty(); });
}

bool LineMerger::is_due(std::size_t guest, Clock::time_point now) const {
  const Guest& g = guests_[guest];
  if (g.bytes.empty()) return false;
  return g.ended || open_ == guest || g.line_ends != 0 || g.bytes.size() >= longest_part ||
         now - g.latest >= patience;
}

std::size_t LineMerger::part_of(const Guest& guest) {
  const auto most = static_cast<std::ptrdiff_t>(std::min(longest_part, guest.bytes.size()));
  const auto end = guest.bytes.begin() + most;
  const auto found = std::find(guest.bytes.begin(), end, line_end);
  return static_cast<std::size_t>(found - guest.bytes.begin()) + (found == end ? 0 : 1);
}

std::string LineMerger::next(Clock::time_point now) {
  std::string text;
  if (nameless()) {
    std::deque<std::byte>& bytes = guests_[0].bytes;
    const auto end = bytes.begin() + static_cast<std::ptrdiff_t>(std::min(piece, bytes.size()));
    std::transform(bytes.begin(), end, std::back_inserter(text), [](std::byte b) { return char(b); });
    bytes.erase(bytes.begin(), end);
    return text;
  }
  std::size_t silent = 0;  // guests in a row that have nothing to print
  while (silent < guests_.size() && text.size() + longest_part <= piece) {
    const std::size_t guest = turn_;
    turn_ = (turn_ + 1) % guests_.size();
    if (!is_due(guest, now)) {
      ++silent;
      continue;
    }
    print(guest, part_of(guests_[guest]), text);
    silent = 0;
  }
  return text;
}

void LineMerger::print(std::size_t guest, std::size_t count, std::string& to) {
  Guest& g = guests_[guest];
  const auto end = g.bytes.begin() + static_cast<std::ptrdiff_t>(count);
  std::for_each(g.bytes.begin(), end, [&](std::byte b) { print(guest, static_cast<char>(b), to); });
  g.line_ends -= static_cast<std::size_t>(std::count(g.bytes.begin(), end, line_end));
  g.bytes.erase(g.bytes.begin(), end);
}

void LineMerger::print(std::size_t guest, char byte, std::string& to) {
  const bool continues = open_ == guest;
  if (!continues && open_ != nobody) to += line_break_;
  if (!continues || (returned_ && byte != '\n')) to += guests_[guest].name + ": ";
  to += byte;
  open_ = byte == '\n' ? nobody : guest;
  returned_ = byte == '\r';
}

std::optional<LineMerger::Clock::time_point> LineMerger::due() const {
  std::optional<Clock::time_point> first;
  if (nameless()) return first;
  for (const Guest& g : guests_)
    if (!g.bytes.empty()) first = std::min(first.value_or(g.latest + patience), g.latest + patience);
  return first;
}

}  // namespace pinfold::cli
