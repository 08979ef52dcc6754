// Says when a helper of a guest's networks has ended, such as passt.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "cli/networks/networks.hpp"

namespace pinfold::cli {

/// A helper also ends because the monitor does. So its end is told only if the monitor goes on for a while.
///
/// Concurrency: used by one thread.
class HelperWatch {
 public:
  /// `networks` outlives this.
  explicit HelperWatch(Networks& networks) : networks_(networks) {}

  /// What is to be told now. Before the guest runs, it is why the guest can't.
  [[nodiscard]] std::vector<std::string> lines(bool guest_runs);
  /// For how many milliseconds a poll(2) may wait; -1: without end.
  [[nodiscard]] int patience() const { return troubles_.empty() ? -1 : int{until_told.count()}; }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::duration<int, std::milli> until_told{1000};

  Networks& networks_;
  std::vector<std::string> troubles_;
  Clock::time_point since_;
};

}  // namespace pinfold::cli
