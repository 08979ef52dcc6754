// What a driver finds in the store when it first sees that a device has a state.
#pragma once

#include <string>
#include <utility>

#include "devices/xenstore/store.hpp"

namespace pinfold::devices::xenbus {

/// Hears of events as a guest's connection does, and looks into a device's folder (its path ends with a
/// slash).
class FirstSight final : public xenstore::EventListener {
 public:
  FirstSight(xenstore::Store& store, std::string folder, std::string node)
      : store_(store), folder_(std::move(folder)), node_(std::move(node)) {}

  void events_ready() override {
    if (!found.empty() || !store_.read(path("state"))) return;
    found = store_.read(path(node_)).value_or("(none)");
  }

  /// The node's value at the first event after which there is a state; empty before.
  std::string found;

 private:
  [[nodiscard]] xenstore::Path path(const std::string& node) const {
    return *xenstore::Path::parse(folder_ + node, DomId(0));
  }

  xenstore::Store& store_;
  const std::string folder_, node_;
};

}  // namespace pinfold::devices::xenbus
