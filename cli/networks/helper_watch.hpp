// Says when a helper of a guest's has ended, such as passt.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace pinfold::cli {

/// A helper that has ended.
struct HelperTrouble {
  std::string what;         ///< In one line: which one, and how.
  std::string consequence;  ///< What that means for a guest that runs.
  bool was_killed = false;  ///< Then it did not end because the monitor has.
};

/// A helper also ends because the monitor does. So its end is told only if it was killed, or if the monitor
/// goes on for a while.
///
/// Concurrency: used by one thread.
class HelperWatch {
 public:
  /// `find` returns the troubles since its last call.
  explicit HelperWatch(std::function<std::vector<HelperTrouble>()> find) : find_(std::move(find)) {}

  /// What is to be told now. Before the guest runs, it is why the guest can't.
  [[nodiscard]] std::vector<std::string> lines(bool guest_runs);
  /// For how many milliseconds a poll(2) may wait; -1: without end.
  [[nodiscard]] int patience() const { return troubles_.empty() ? -1 : int{until_told.count()}; }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::duration<int, std::milli> until_told{1000};

  std::function<std::vector<HelperTrouble>()> find_;
  std::vector<HelperTrouble> troubles_;
  Clock::time_point since_;
};

}  // namespace pinfold::cli
