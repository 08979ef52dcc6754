#include "devices/xenstore/watches.hpp"

#include <algorithm>
#include <utility>

#include "devices/xen_abi.hpp"

namespace pinfold::devices::xenstore {
namespace {

/// The node at `path` of a tree whose top, at `above`, is `top`, and its parent; null if there is none, and
/// if the parent is not part of that tree.
struct Found {
  const Node* node;
  const Node* parent;
};
Found node_below(const Node& top, const Path& path, const Path& above) {
  Found found{&top, nullptr};
  const auto names = path.names();
  for (std::size_t i = above.names().size(); found.node != nullptr && i < names.size(); ++i) {
    const auto child = found.node->children.find(names[i]);
    found = {child == found.node->children.end() ? nullptr : child->second.get(), found.node};
  }
  return found;
}

std::size_t levels_below(const Path& path, const Path& above) {
  return path.names().size() - above.names().size();
}

}  // namespace

Status WatchList::add(std::string_view text, std::string token, std::optional<std::uint32_t> depth) {
  Watch watch{std::string(text), std::nullopt, std::move(token), depth};
  if (!text.starts_with('@')) {
    const auto path = Path::parse(text, actor_.dom);
    if (!path) return fail(path.error());
    watch.path = *path;
  } else if (text.size() > XENSTORE_REL_PATH_MAX || (depth && *depth != 1)) {
    return fail(Errno::einval);
  }
  if (find(text, watch.token) != watches_.end()) return fail(Errno::eexist);
  if (style_ == EventStyle::each_path && watches_.size() >= quotas_.watches) return fail(Errno::e2big);
  if (bytes_ + bytes_of(watch) > most_bytes_) return fail(Errno::enomem);

  bytes_ += bytes_of(watch);
  queue({watch.text, watch.token});
  watches_.push_back(std::move(watch));
  return {};
}

Status WatchList::remove(std::string_view text, std::string_view token) {
  const auto found = find(text, token);
  if (found == watches_.end()) return fail(Errno::enoent);
  bytes_ -= bytes_of(*found);
  watches_.erase(found);
  return {};
}

std::vector<WatchList::Watch>::iterator WatchList::find(std::string_view text, std::string_view token) {
  const auto path = Path::parse(text, actor_.dom);
  return std::find_if(watches_.begin(), watches_.end(), [&](const Watch& w) {
    return w.token == token && (w.path ? path && *w.path == *path : w.text == text);
  });
}

void WatchList::clear() {
  watches_.clear();
  events_.clear();
  waiting_.clear();
  bytes_ = 0;
}

void WatchList::set_bounds(Time now, std::uint64_t most_bytes) {
  now_ = now;
  most_bytes_ = most_bytes;
  if (quotas_.event_timeout == std::chrono::seconds(0)) return;
  while (!events_.empty() && now - events_.front().since >= quotas_.event_timeout) (void)take_first();
}

bool WatchList::fire(const Change& change) {
  const bool seen = change.before.allows(actor_, Want::read) || change.after.allows(actor_, Want::read) ||
                    change.parent.allows(actor_, Want::read);
  bool fired = false;
  for (const auto& watch : watches_) {
    if (full()) {
      lost_ = true;  // perhaps: whether this watch would hear is not looked up any more
      break;
    }
    if (!watch.path) continue;
    if (seen && hears(watch, change.path))
      fired = tell(watch, change.path) || fired;
    else if (hears_of_removal(watch, change))
      fired = tell(watch, *watch.path) || fired;
  }
  return fired;
}

bool WatchList::hears(const Watch& watch, const Path& changed) const {
  return changed.is_within(*watch.path) &&
         (!watch.depth || levels_below(changed, *watch.path) <= *watch.depth);
}

/// A node above the watch's went away, and the watch's with it.
bool WatchList::hears_of_removal(const Watch& watch, const Change& change) const {
  if (!change.gone || *watch.path == change.path || !watch.path->is_within(change.path)) return false;
  const auto [node, parent] = node_below(*change.gone, *watch.path, change.path);
  return node != nullptr && (node->permissions.allows(actor_, Want::read) ||
                             (parent != nullptr && parent->permissions.allows(actor_, Want::read)));
}

bool WatchList::fire_special(std::string_view name, DomId domain) {
  const std::string with_domain = std::string(name) + "/" + std::to_string(domain.raw());
  bool fired = false;
  for (const auto& watch : watches_) {
    if (watch.text == name)
      fired = queue({watch.depth ? with_domain : watch.text, watch.token}) || fired;
    else if (watch.text == with_domain)
      fired = queue({with_domain, watch.token}) || fired;
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
  return take_first();
}

WatchEvent WatchList::take_first() {
  WatchEvent event = std::move(events_.front().event);
  events_.pop_front();
  waiting_.erase(event);
  bytes_ -= bytes_of(event);
  return event;
}

std::uint64_t WatchList::bytes_of(const Watch& watch) {
  constexpr std::uint64_t fixed = 256;
  return fixed + watch.text.size() + (watch.path ? watch.path->text().size() : 0) + watch.token.size();
}

/// It is in two places.
std::uint64_t WatchList::bytes_of(const WatchEvent& event) {
  constexpr std::uint64_t fixed = 256;
  return fixed + 2 * (event.path.size() + event.token.size());
}

bool WatchList::queue(WatchEvent event) {
  const std::uint64_t size = bytes_of(event);
  const bool dropped = full() || bytes_ + size > most_bytes_;
  lost_ = lost_ || dropped;
  if (dropped || !waiting_.insert(event).second) return false;
  bytes_ += size;
  events_.push_back({std::move(event), now_});
  return true;
}

}  // namespace pinfold::devices::xenstore
