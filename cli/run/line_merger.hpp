// What several guests print, as one stream of lines.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace pinfold::cli {

/// Of one guest without a name the bytes pass unchanged. Else each line starts with its guest's name: `web:
/// …`. A line is passed on when it is whole, so that lines do not mix. An unfinished one waits for
/// `patience`, or until it has `longest_part` bytes: a prompt is seen, too. If another guest's line comes
/// then, it begins on a line of its own, and the rest of the first one later on another, again with the name.
/// After a carriage return the name is printed again, so that no guest prints over it. The guests take turns.
///
/// Not thread-safe. Guests are numbered in the order of their names.
class LineMerger {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t piece = 4096;  ///< What a pipe that has room takes at once.
  static constexpr std::size_t longest_part = 1024;
  static constexpr std::chrono::milliseconds patience{50};

  /// `line_break`: what ends a line that its guest has not ended.
  explicit LineMerger(std::vector<std::string> names, std::string line_break = "\n");

  void add(std::size_t guest, std::span<const std::byte> bytes, Clock::time_point now);
  /// The guest has printed its last: nothing of it waits any longer than it has to.
  void end(std::size_t guest) { guests_[guest].ended = true; }
  /// Bytes of the guest's that next() has not returned.
  [[nodiscard]] std::size_t waiting(std::size_t guest) const { return guests_[guest].bytes.size(); }
  [[nodiscard]] bool empty() const;

  /// What is to be printed next: some `piece` bytes at most. Empty: nothing is, now.
  [[nodiscard]] std::string next(Clock::time_point now);
  /// When next() has something of what it holds back now; nullopt: not before more comes.
  [[nodiscard]] std::optional<Clock::time_point> due() const;

 private:
  struct Guest {
    std::string name;
    std::deque<std::byte> bytes;
    std::size_t line_ends = 0;  ///< In `bytes`.
    Clock::time_point latest;   ///< When bytes came for the last time.
    bool ended = false;
  };
  static constexpr std::size_t nobody = ~std::size_t{0};

  [[nodiscard]] bool nameless() const { return guests_.size() == 1 && guests_[0].name.empty(); }
  [[nodiscard]] bool is_due(std::size_t guest, Clock::time_point now) const;
  /// How many of its bytes come next: up to the end of a line.
  [[nodiscard]] static std::size_t part_of(const Guest& guest);
  void print(std::size_t guest, std::size_t count, std::string& to);
  void print(std::size_t guest, char byte, std::string& to);

  std::vector<Guest> guests_;
  std::string line_break_;
  std::size_t turn_ = 0;
  std::size_t open_ = nobody;  ///< Whose line is unfinished on the output.
  bool returned_ = false;      ///< Its latest byte is a carriage return.
};

}  // namespace pinfold::cli
