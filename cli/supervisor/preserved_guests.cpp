#include "cli/supervisor/preserved_guests.hpp"

#include <utility>

namespace pinfold::cli {

void PreservedGuests::add(MonitorProcess monitor, std::optional<ClaimedName> name) {
  guests_.push_back({std::move(monitor), std::move(name)});
}

void PreservedGuests::forget_ended() {
  guests_.remove_if([](Guest& guest) { return guest.monitor.ended().has_value(); });
}

std::string PreservedGuests::names() const {
  std::string names;
  for (const Guest& guest : guests_)
    if (guest.name) names += (names.empty() ? "" : ", ") + guest.name->text();
  return names;
}

void PreservedGuests::ask_to_leave() {
  for (Guest& guest : guests_) guest.monitor.ask_to_leave();
}

void PreservedGuests::kill() {
  for (Guest& guest : guests_) guest.monitor.kill();
}

}  // namespace pinfold::cli
