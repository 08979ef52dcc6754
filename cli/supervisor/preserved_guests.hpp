// Guests that have ended and stay for inspection.
#pragma once

#include <cstddef>
#include <list>
#include <optional>
#include <string>

#include "cli/supervisor/claimed_name.hpp"
#include "cli/supervisor/monitor_process.hpp"

namespace pinfold::cli {

/// Their monitors, each with the name by which commands find it. Each keeps all memory of its guest, so
/// there are not many of them.
class PreservedGuests {
 public:
  static constexpr std::size_t most = 8;

  /// Without a name, only this process can end it.
  void add(MonitorProcess monitor, std::optional<ClaimedName> name);
  /// Those whose monitors have ended are gone, and their names free.
  void forget_ended();
  [[nodiscard]] std::size_t size() const { return guests_.size(); }
  /// "a, b"; empty: there are none with a name.
  [[nodiscard]] std::string names() const;

  void ask_to_leave();
  void kill();

 private:
  struct Guest {
    MonitorProcess monitor;
    std::optional<ClaimedName> name;
  };
  std::list<Guest> guests_;
};

}  // namespace pinfold::cli
