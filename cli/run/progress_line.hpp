// How far a slow load has come, on the user's terminal.
#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string_view>

#include "loader/load_error.hpp"

namespace pinfold::cli {

/// A line on stderr, if that is a terminal, once a load takes longer than `patience`. The line is cleared at
/// the end.
class ProgressLine {
 public:
  ProgressLine() = default;
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine() {
    if (used_) fmt::print(stderr, "\r\033[K");
  }

  /// This object outlives the sink.
  [[nodiscard]] loader::Progress sink() {
    if (::isatty(STDERR_FILENO) != 1) return {};
    return [this](std::string_view what, double fraction) {
      const auto now = Clock::now();
      if (now - started_ < patience || now - shown_ < interval) return;
      shown_ = now;
      used_ = true;
      fmt::print(stderr, "\r{} {:3.0f} %", what, fraction * 100);
    };
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr auto patience = std::chrono::milliseconds(300);
  static constexpr auto interval = std::chrono::milliseconds(50);
  Clock::time_point started_ = Clock::now(), shown_{};
  bool used_ = false;
};

}  // namespace pinfold::cli
