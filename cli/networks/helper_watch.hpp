// Says when a helper of a guest's has ended, such as passt.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/networks/device_tie.hpp"

namespace pinfold::cli {

/// A helper that has ended.
struct HelperTrouble {
  std::string what;                           ///< In one line: which one, and how.
  std::string consequence;                    ///< What that means for a guest that runs.
  bool was_killed = false;                    ///< Then it did not end because the monitor has.
  bool ended_well = false;                    ///< As it also does when its device is gone.
  std::shared_ptr<const DeviceTie> device{};  ///< Of the device that it served. Null: nobody knows.
};

/// A helper also ends because the monitor does, or because the guest has the device no more. So its end is
/// told only if it was killed, or if the monitor goes on for a while and still has the device then.
///
/// Concurrency: used by one thread.
class HelperWatch {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::duration<int, std::milli> until_told{1000};

  /// `find` returns the troubles since its last call.
  explicit HelperWatch(std::function<std::vector<HelperTrouble>()> find) : find_(std::move(find)) {}

  /// What is to be told now. Before the guest runs, it is why the guest can't; unless the monitor has ended
  /// for another reason, and the helper with it.
  [[nodiscard]] std::vector<std::string> lines(bool guest_runs, Clock::time_point now = Clock::now());
  /// For how many milliseconds a poll(2) may wait; -1: without end.
  [[nodiscard]] int patience() const { return troubles_.empty() ? -1 : int{until_told.count()}; }

 private:
  [[nodiscard]] static bool is_consequence(const HelperTrouble& trouble);

  std::function<std::vector<HelperTrouble>()> find_;
  std::vector<HelperTrouble> troubles_;
  Clock::time_point since_;
};

}  // namespace pinfold::cli
