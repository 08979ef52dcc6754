// Servers of images whose guest has ended.
#pragma once

#include <list>
#include <optional>

#include "cli/images/image_servers.hpp"
#include "cli/supervisor/claimed_name.hpp"

namespace pinfold::cli {

/// They write what the guest wrote last, which may take a while on a slow disk, and nobody waits for that but
/// who wants the guest's name. Those that take longer than half a minute are killed.
///
/// Concurrency: used by one thread, in a process that has no others.
class EndingServers {
 public:
  EndingServers() = default;
  /// Asks the servers to end. The name is free when they have.
  void take(ImageServers servers, std::optional<ClaimedName> name);
  /// To be called when a child has ended, or after patience().
  void forget_ended();
  /// Waits for all at once.
  void wait_for_all() { all_.clear(); }
  /// For how many milliseconds a poll(2) may wait; -1: without end.
  [[nodiscard]] int patience() const;

 private:
  struct Ending {
    std::optional<ClaimedName> name;  ///< Ends after the servers.
    ImageServers servers;
  };
  std::list<Ending> all_;
};

}  // namespace pinfold::cli
