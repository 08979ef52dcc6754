#include "devices/xenstore/watches.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::devices::xenstore {
namespace {

/// The node at `path` of a tree whose top, at `above`, is `top`; null if there is none.
const Node* node_below(const Node& top, const Path& path, const Path& above) {
  const Node* node = &top;
  const auto names = path.names();
  for (std::size_t i = above.names().size(); node != nullptr && i < names.size(); ++i) {
    const auto child = node->children.find(names[i]);
    node = child == node->children.end() ? nullptr : child->second.get();
  }
  return node;
}

}  // namespace

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
  const bool seen = change.before.allows(actor_, Want::read) || change.after.allows(actor_, Want::read);
  bool fired = false;
  for (const auto& watch : watches_) {
    if (full()) break;
    if (!watch.path) continue;
    if (change.path.is_within(*watch.path)) {
      if (seen) fired = tell(watch, change.path) || fired;
    } else if (change.gone && watch.path->is_within(change.path)) {
      const Node* node = node_below(*change.gone, *watch.path, change.path);
      if (node != nullptr && node->permissions.allows(actor_, Want::read))
        fired = tell(watch, *watch.path) || fired;
    }
  }
  return fired;
}

/// A relative watch speaks in relative paths: what the client wrote, and what lies below it.
bool WatchList::tell(const Watch& watch, const Path& changed) {
  if (style_ == EventStyle::one_for_each_watch) return queue({watch.text, watch.token});
  const bool relative = !watch.text.starts_with('/');
  std::string path =
      relative ? watch.text + changed.text().substr(watch.path->text().size()) : changed.text();
  return queue({std::move(path), watch.token});
}

std::optional<WatchEvent> WatchList::next_event() {
  if (events_.empty()) return std::nullopt;
  WatchEvent event = std::move(events_.front());
  events_.pop_front();
  waiting_.erase(event);
  return event;
}

bool WatchList::queue(WatchEvent event) {
  if (full() || !waiting_.insert(event).second) return false;
  events_.push_back(std::move(event));
  return true;
}

}  // namespace pinfold::devices::xenstore
