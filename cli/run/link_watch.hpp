// The wish of a supervisor, on its link.
#pragma once

#include <functional>
#include <thread>

#include "cli/control/wake_up.hpp"
#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// Waits on a thread of its own until the supervisor asks for the end, or is gone; then, once, it calls a
/// function there.
class LinkWatch {
 public:
  /// `link` outlives this.
  LinkWatch(const vmm::Fd& link, std::function<void()> on_leave);
  ~LinkWatch();
  LinkWatch(const LinkWatch&) = delete;
  LinkWatch& operator=(const LinkWatch&) = delete;

 private:
  void loop() const;
  const vmm::Fd& link_;
  std::function<void()> on_leave_;
  WakeUp stop_;
  std::thread thread_;
};

}  // namespace pinfold::cli
