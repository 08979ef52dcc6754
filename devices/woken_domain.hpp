// Keeps a neighbour there while its vCPUs are woken for an event.
#pragma once

#include "devices/event_channels.hpp"

namespace pinfold::devices {

/// A vCPU is woken when the switch's lock is free again (DeferredKick); in between, the neighbour could end.
/// Declared before the kick, this outlives it: EventChannels::detach() of the neighbour waits for its end.
class WokenDomain {
 public:
  explicit WokenDomain(EventSwitch& network) : network_(network) {}
  WokenDomain(const WokenDomain&) = delete;
  WokenDomain& operator=(const WokenDomain&) = delete;
  ~WokenDomain() {
    if (domain_ == nullptr) return;
    const std::lock_guard lock(network_.mutex_);
    if (--domain_->wakers_ == 0) network_.woken_.notify_all();
  }
  /// Once, with the switch's lock held.
  void keep(EventChannels& domain) {
    domain_ = &domain;
    ++domain.wakers_;
  }

 private:
  EventSwitch& network_;
  EventChannels* domain_ = nullptr;
};

}  // namespace pinfold::devices
