// Why a domain is over, and who says so first.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

namespace pinfold::vmm {

enum class Ending : std::uint8_t {
  none,
  power_off,
  reboot,
  suspend,
  crash,            ///< The guest gave up, or did something that a PV guest does not survive.
  watchdog,         ///< Its watchdog fired.
  isolation_fault,  ///< A wall stopped it: an access that no correct state of the other walls permits.
  left,             ///< The user ended it.
  host_failure,     ///< KVM or the host failed.
};

struct End {
  Ending ending = Ending::none;
  std::string why;  ///< One line; more lines for a crash (registers).
};

/// The end of one domain: it happens once, and the first reason stays.
///
/// Concurrency: any thread, with or without the domain's lock. The mutex is a leaf; `notify` is called
/// without it, by the thread that ended the domain.
class DomainEnd {
 public:
  /// `notify`: makes every vCPU look at happened() soon.
  explicit DomainEnd(std::function<void()> notify) : notify_(std::move(notify)) {}

  /// Does nothing if the domain is over already.
  void end(Ending ending, std::string why);
  [[nodiscard]] bool happened() const { return ending_.load() != Ending::none; }
  [[nodiscard]] End result() const;

 private:
  std::function<void()> notify_;
  std::atomic<Ending> ending_{Ending::none};
  mutable std::mutex mutex_;
  End end_;  ///< Guarded by the mutex.
};

}  // namespace pinfold::vmm
