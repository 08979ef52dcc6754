// The store that all domains of a monitor share: nodes, transactions, watches, and who may do how much.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "devices/xenstore/memory_quota.hpp"
#include "devices/xenstore/transaction.hpp"
#include "devices/xenstore/watches.hpp"

namespace pinfold::devices::xenstore {

/// Told that events wait for its client. Called without any lock of the store.
class EventListener {
 public:
  virtual ~EventListener() = default;
  virtual void events_ready() = 0;
};

/// A transaction's number towards its client; 0 is none.
using TransactionId = Ordinal<struct TransactionIdTag, std::uint32_t>;

struct Listing {
  std::vector<std::string> names;
  std::uint64_t generation = 0;
};

/// A node, created if need be; `permissions` are set if given.
struct NodeWrite {
  Path path;
  std::string value;
  std::optional<Permissions> permissions = std::nullopt;
};

/// Any thread may call anything. Errors are those that the wire protocol tells: ENOENT, EACCES, EINVAL,
/// EEXIST, ENOSPC, ENOMEM, E2BIG, EAGAIN, EPERM. Changes queue events for the clients that watch; deliver()
/// then wakes them, and must be called while the caller holds no lock that a listener takes. The monitor's
/// own operations (without a client) deliver by themselves.
class Store {
 public:
  using Clock = std::function<WatchList::Time()>;
  /// The last numbers that were given: of a client, and of a transaction of each.
  struct LastNumbers {
    std::uint32_t client = 0, transaction = 0;
  };
  explicit Store(Quotas quotas = {}, Quotas host_quotas = Quotas::of_the_host(),
                 Clock clock = std::chrono::steady_clock::now, LastNumbers last = {0, 0})
      : quotas_(quotas), host_quotas_(host_quotas), clock_(std::move(clock)), last_(last) {}

  // ---- the monitor, privileged ----
  [[nodiscard]] tl::expected<std::string, Errno> read(const Path& path);
  /// Creates the node if need be; `permissions` are set if given.
  [[nodiscard]] Status write(const Path& path, std::string value,
                             std::optional<Permissions> permissions = std::nullopt);
  /// In this order, and no client sees a part of them: not between two requests, and not by an event. After
  /// an error those before it stay.
  [[nodiscard]] Status write(std::vector<NodeWrite> nodes);
  [[nodiscard]] Status remove(const Path& path);

  // ---- domains ----
  /// The domain is connected from here on: @introduceDomain.
  void introduce(DomId domain);
  /// The domain stopped running, and is still connected: @releaseDomain.
  void tell_shutdown(DomId domain);
  /// It is not connected any more: @releaseDomain, and the nodes that it owns anywhere are removed. After as
  /// many calls as of introduce().
  void release(DomId domain);
  /// Domain 0 always is.
  [[nodiscard]] bool is_introduced(DomId domain);

  // ---- clients ----
  /// A guest's connection, or another user of the store. One domain may have several clients; quotas on nodes
  /// are the domain's, the others each client's. A client of domain 0 is privileged.
  [[nodiscard]] ClientId add_client(DomId domain, const std::weak_ptr<EventListener>& listener,
                                    EventStyle style = EventStyle::each_path);
  /// Its watches and transactions go with it.
  void remove_client(ClientId id);

  [[nodiscard]] tl::expected<std::string, Errno> read(ClientId id, TransactionId tx, const Path& path);
  [[nodiscard]] tl::expected<Listing, Errno> directory(ClientId id, TransactionId tx, const Path& path);
  [[nodiscard]] tl::expected<Permissions, Errno> permissions(ClientId id, TransactionId tx, const Path& path);
  [[nodiscard]] Status write(ClientId id, TransactionId tx, const Path& path, std::string value);
  [[nodiscard]] Status mkdir(ClientId id, TransactionId tx, const Path& path);
  [[nodiscard]] Status remove(ClientId id, TransactionId tx, const Path& path);
  [[nodiscard]] Status set_permissions(ClientId id, TransactionId tx, const Path& path,
                                       Permissions permissions);

  /// `path` may be a special name ("@introduceDomain"): WatchList::add has the rules.
  [[nodiscard]] Status watch(ClientId id, std::string_view path, std::string token,
                             std::optional<std::uint32_t> depth = {});
  [[nodiscard]] Status unwatch(ClientId id, std::string_view path, std::string_view token);
  /// Drops all watches, waiting events and transactions.
  void reset(ClientId id);
  /// Who hears of @introduceDomain or @releaseDomain; at first domain 0 alone. EINVAL for another name,
  /// EACCES without the owner's right.
  [[nodiscard]] Status set_special_permissions(ClientId id, std::string_view name, Permissions permissions);

  [[nodiscard]] tl::expected<TransactionId, Errno> start_transaction(ClientId id);
  [[nodiscard]] Status end_transaction(ClientId id, TransactionId tx, bool commit);
  [[nodiscard]] bool has_transaction(ClientId id, TransactionId tx);

  [[nodiscard]] std::optional<WatchEvent> next_event(ClientId id);
  /// Bytes that are held for the client and for its domain's nodes; Quotas::memory_hard bounds them.
  [[nodiscard]] std::uint64_t held_for(ClientId id);
  /// Was an event for this client dropped because too many waited?
  [[nodiscard]] bool lost_events(ClientId id);
  /// What all operations have cost so far, in steps of Tree; a watch that a change is compared with is one.
  [[nodiscard]] std::uint64_t steps();
  /// Counts the nodes of each domain anew; false: the counts were wrong.
  [[nodiscard]] bool check();
  [[nodiscard]] const Quotas& quotas() const { return quotas_; }
  void deliver();

 private:
  struct Client {
    Client(DomId domain, const Quotas& limits, std::weak_ptr<EventListener> ready, EventStyle style)
        : actor{domain, domain == DomId(0)},
          quotas(limits),
          memory(domain, quotas),
          watches(actor, quotas, style),
          listener(std::move(ready)) {}
    Actor actor;
    const Quotas& quotas;
    MemoryQuota memory;
    WatchList watches;
    std::weak_ptr<EventListener> listener;
    std::map<TransactionId, Transaction> transactions;
    std::uint32_t last_transaction = 0;
    /// What its changes have left to the snapshots of its open transactions, in bytes.
    std::uint64_t left_to_snapshots = 0;
  };

  // These need the lock.
  [[nodiscard]] Client& client(ClientId id);
  [[nodiscard]] static std::uint64_t held_by_transactions(const Client& c);
  [[nodiscard]] std::uint64_t held_for(const Client& c) const;
  [[nodiscard]] std::uint64_t room_of(const Client& c) const { return c.memory.room(held_for(c)); }
  /// Its watches, which know the time and how much room they have.
  [[nodiscard]] WatchList& watches_of(Client& c);
  [[nodiscard]] Status change_now(Client& c, const Transaction::Op& op);
  void left_to_snapshots(Client& c, std::uint64_t bytes);
  void fire(const std::vector<Change>& changes);
  void fire_special(std::string_view name, DomId domain);
  [[nodiscard]] Status change(ClientId id, TransactionId tx, Transaction::Op op);
  template <class Result, class Take>
  [[nodiscard]] tl::expected<Result, Errno> look(ClientId id, TransactionId tx, const Path& path, Take take);

  const Quotas quotas_, host_quotas_;
  const Clock clock_;
  std::mutex mutex_;
  Tree tree_;
  std::map<ClientId, Client> clients_;
  LastNumbers last_;  ///< The transaction's is where each client begins.
  std::set<ClientId> to_wake_;
  std::map<DomId, std::uint32_t> introduced_;  ///< How often each.
  std::map<std::string, Permissions, std::less<>> special_{{"@introduceDomain", Permissions(DomId(0))},
                                                           {"@releaseDomain", Permissions(DomId(0))}};
};

}  // namespace pinfold::devices::xenstore
