#include "devices/xenstore/watches.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::devices::xenstore {

Status WatchList::add(std::string_view text, std::string token) {
  Watch watch{std::string(text), std::nullopt, std::move(token)};
  if (!text.starts_with('@')) {
    const auto path = Path::parse(text, actor_.dom);
    if (!path) return fail(path.error());
    watch.path = *path;
  } else if (text.size() > 64) {
    return fail(Errno::einval);
  }
  const bool exists = std::any_of(watches_.begin(), watches_.end(), [&](const Watch& w) {
    return w.text == watch.text && w.token == watch.token;
  });
  if (exists) return fail(Errno::eexist);
  if (!actor_.privileged && watches_.size() >= quotas_.watches) return fail(Errno::e2big);

  queue({watch.text, watch.token});
  watches_.push_back(std::move(watch));
  return {};
}

Status WatchList::remove(std::string_view text, std::string_view token) {
  const auto removed =
      std::erase_if(watches_, [&](const Watch& w) { return w.text == text && w.token == token; });
  return removed != 0 ? Status() : Status(fail(Errno::enoent));
}

void WatchList::clear() {
  watches_.clear();
  events_.clear();
  waiting_.clear();
}

bool WatchList::fire(const Change& change) {
  if (!change.before.allows(actor_, Want::read) && !change.after.allows(actor_, Want::read)) return false;
  bool fired = false;
  for (const auto& watch : watches_) {
    if (!watch.path) continue;
    const bool concerned = change.exact ? change.path == *watch.path : change.path.is_within(*watch.path);
    if (!concerned) continue;
    // A relative watch speaks in relative paths: what the client wrote, and what lies below it.
    const bool relative = !watch.text.starts_with('/');
    std::string path =
        relative ? watch.text + change.path.text().substr(watch.path->text().size()) : change.path.text();
    fired = queue({std::move(path), watch.token}) || fired;
  }
  return fired;
}

std::optional<WatchEvent> WatchList::next_event() {
  if (events_.empty()) return std::nullopt;
  WatchEvent event = std::move(events_.front());
  events_.pop_front();
  waiting_.erase(event);
  return event;
}

bool WatchList::queue(WatchEvent event) {
  if (events_.size() >= quotas_.events || !waiting_.insert(event).second) return false;
  events_.push_back(std::move(event));
  return true;
}

}  // namespace pinfold::devices::xenstore
