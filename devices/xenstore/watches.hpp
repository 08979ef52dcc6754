// Which clients wait for which changes, and what they have not been told yet.
#pragma once

#include <chrono>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "devices/xenstore/operations.hpp"

namespace pinfold::devices::xenstore {

/// A connection, or another user of the store.
using ClientId = Ordinal<struct ClientIdTag, std::uint32_t>;

/// As the client hears it: the path is relative if the watch was.
struct WatchEvent {
  std::string path;
  std::string token;
  friend auto operator<=>(const WatchEvent&, const WatchEvent&) = default;
};

/// What a client hears of the changes that its watches see.
enum class EventStyle {
  each_path,           ///< As on the wire: each changed path. A queue that is full loses events.
  one_for_each_watch,  ///< At most one waiting event for each watch, with the watch's own path; none is lost.
};

/// The watches of one client and its queue of events. Equal events that wait at the same time are one: an
/// event says that something changed, not how often. The queue is bounded; what does not fit is dropped, and
/// what waited too long. Not thread-safe.
class WatchList {
 public:
  WatchList(Actor actor, const Quotas& quotas, EventStyle style = EventStyle::each_path)
      : actor_(actor), quotas_(quotas), style_(style) {}

  using Time = std::chrono::steady_clock::time_point;
  /// What holds for the calls that follow: the time, and how many bytes watches and events may take. Drops
  /// events that have waited for Quotas::event_timeout.
  void set_bounds(Time now, std::uint64_t most_bytes);
  /// What watches and events take.
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

  /// Adds a watch and queues its first event. `text` is a path as for Path::parse, or a special name
  /// ("@..."). `depth` is how many levels below the path it hears of; for a special name 1 means that events
  /// name the domain. EEXIST for the same path and token, E2BIG over quota, ENOMEM over that of memory,
  /// EINVAL for a bad path or depth.
  [[nodiscard]] Status add(std::string_view text, std::string token, std::optional<std::uint32_t> depth = {});
  /// ENOENT if there is no such watch. A relative path and the absolute one that it means are the same.
  [[nodiscard]] Status remove(std::string_view text, std::string_view token);
  void clear();
  /// Queues events for the watches that the change concerns; true if any was queued.
  bool fire(const Change& change);
  /// The same for an event about a domain, such as "@releaseDomain"; the client may hear of it.
  bool fire_special(std::string_view name, DomId domain);
  /// Was an event dropped because the queue was full, or there was no memory for it?
  [[nodiscard]] bool lost_events() const { return lost_; }
  [[nodiscard]] std::optional<WatchEvent> next_event();
  /// How many watches a change is compared with.
  [[nodiscard]] std::size_t size() const { return watches_.size(); }

 private:
  struct Watch {
    std::string text;          ///< As the client wrote it.
    std::optional<Path> path;  ///< None for a special name.
    std::string token;
    std::optional<std::uint32_t> depth;
  };
  [[nodiscard]] bool hears(const Watch& watch, const Path& changed) const;
  [[nodiscard]] bool hears_of_removal(const Watch& watch, const Change& change) const;
  [[nodiscard]] std::vector<Watch>::iterator find(std::string_view text, std::string_view token);
  [[nodiscard]] bool full() const {
    return style_ == EventStyle::each_path && events_.size() >= quotas_.events;
  }
  bool tell(const Watch& watch, const Path& changed);
  bool queue(WatchEvent event);

  Actor actor_;
  const Quotas& quotas_;
  EventStyle style_;
  bool lost_ = false;
  std::vector<Watch> watches_;
  struct Waiting {
    WatchEvent event;
    Time since;
  };
  [[nodiscard]] WatchEvent take_first();
  [[nodiscard]] static std::uint64_t bytes_of(const Watch& watch);
  [[nodiscard]] static std::uint64_t bytes_of(const WatchEvent& event);

  Time now_{};
  std::uint64_t bytes_ = 0;
  std::uint64_t most_bytes_ = std::numeric_limits<std::uint64_t>::max();
  std::deque<Waiting> events_;
  std::set<WatchEvent> waiting_;  ///< the same, to find equal ones in a long queue
};

}  // namespace pinfold::devices::xenstore
