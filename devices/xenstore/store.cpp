#include "devices/xenstore/store.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "devices/xenstore/numbers.hpp"

namespace pinfold::devices::xenstore {
namespace {

constexpr Actor monitor{DomId(0), true};

}  // namespace

tl::expected<std::string, Errno> Store::read(const Path& path) {
  const std::lock_guard lock(mutex_);
  const Node* node = tree_.find(path);
  if (node == nullptr) return fail(Errno::enoent);
  return node->value;
}

Status Store::write(const Path& path, std::string value, std::optional<Permissions> permissions) {
  return write({{path, std::move(value), std::move(permissions)}});
}

Status Store::write(std::vector<NodeWrite> nodes) {
  Status done;
  {
    const std::lock_guard lock(mutex_);
    Operations operations(tree_, monitor, quotas_);
    for (auto& [path, value, permissions] : nodes) {
      done = operations.write(path, std::move(value));
      if (done && permissions) done = operations.set_permissions(path, std::move(*permissions));
      if (!done) break;
    }
    fire(operations.changes());
  }
  deliver();
  return done;
}

Status Store::remove(const Path& path) {
  {
    const std::lock_guard lock(mutex_);
    Operations operations(tree_, monitor, quotas_);
    if (auto done = operations.remove(path); !done) return done;
    fire(operations.changes());
  }
  deliver();
  return {};
}

ClientId Store::add_client(DomId domain, const std::weak_ptr<EventListener>& listener, EventStyle style) {
  const std::lock_guard lock(mutex_);
  // Two clients of one number would have each other's rights.
  last_.client = next_number(last_.client, [&](auto number) { return clients_.contains(ClientId(number)); });
  const ClientId id(last_.client);
  const auto [place, is_new] =
      clients_.try_emplace(id, domain, domain == DomId(0) ? host_quotas_ : quotas_, listener, style);
  if (!is_new) std::abort();
  place->second.last_transaction = last_.transaction;
  return id;
}

void Store::remove_client(ClientId id) {
  const std::lock_guard lock(mutex_);
  clients_.erase(id);
  to_wake_.erase(id);
}

tl::expected<std::string, Errno> Store::read(ClientId id, TransactionId tx, const Path& path) {
  return look<std::string>(id, tx, path, [](const Node& node) { return node.value; });
}

tl::expected<Listing, Errno> Store::directory(ClientId id, TransactionId tx, const Path& path) {
  return look<Listing>(id, tx, path, [this](const Node& node) {
    Listing listing{{}, node.generation};
    tree_.count_steps(node.children.size());
    for (const auto& [name, child] : node.children) listing.names.push_back(name);
    return listing;
  });
}

tl::expected<Permissions, Errno> Store::permissions(ClientId id, TransactionId tx, const Path& path) {
  return look<Permissions>(id, tx, path, [](const Node& node) { return node.permissions; });
}

Status Store::write(ClientId id, TransactionId tx, const Path& path, std::string value) {
  const std::size_t bytes = path.text().size() + value.size();
  return change(id, tx,
                {[path, value = std::move(value)](Operations& o) { return o.write(path, value); }, bytes});
}

Status Store::mkdir(ClientId id, TransactionId tx, const Path& path) {
  return change(id, tx, {[path](Operations& o) { return o.mkdir(path); }, path.text().size()});
}

Status Store::remove(ClientId id, TransactionId tx, const Path& path) {
  return change(id, tx, {[path](Operations& o) { return o.remove(path); }, path.text().size()});
}

Status Store::set_permissions(ClientId id, TransactionId tx, const Path& path, Permissions permissions) {
  const std::size_t bytes = path.text().size() + permissions.size() * sizeof(Permission);
  return change(id, tx,
                {[path, permissions = std::move(permissions)](Operations& o) {
                   return o.set_permissions(path, permissions);
                 },
                 bytes});
}

Status Store::watch(ClientId id, std::string_view path, std::string token,
                    std::optional<std::uint32_t> depth) {
  const std::lock_guard lock(mutex_);
  return watches_of(client(id)).add(path, std::move(token), depth);
}

Status Store::unwatch(ClientId id, std::string_view path, std::string_view token) {
  const std::lock_guard lock(mutex_);
  return client(id).watches.remove(path, token);
}

void Store::reset(ClientId id) {
  const std::lock_guard lock(mutex_);
  Client& c = client(id);
  c.watches.clear();
  c.transactions.clear();
  c.left_to_snapshots = 0;
}

Status Store::set_special_permissions(ClientId id, std::string_view name, Permissions permissions) {
  const std::lock_guard lock(mutex_);
  const auto found = special_.find(name);
  if (found == special_.end()) return fail(Errno::einval);
  const Actor& actor = client(id).actor;
  if (!actor.privileged && found->second.owner() != actor.dom) return fail(Errno::eacces);
  found->second = std::move(permissions);
  return {};
}

tl::expected<TransactionId, Errno> Store::start_transaction(ClientId id) {
  const std::lock_guard lock(mutex_);
  Client& c = client(id);
  if (c.transactions.size() >= c.quotas.transactions) return fail(Errno::enospc);
  if (room_of(c) == 0) return fail(Errno::enomem);
  c.last_transaction = next_number(
      c.last_transaction, [&](auto number) { return c.transactions.contains(TransactionId(number)); });
  const TransactionId tx(c.last_transaction);
  c.transactions.try_emplace(tx, tree_, c.actor, c.quotas);
  return tx;
}

Status Store::end_transaction(ClientId id, TransactionId tx, bool commit) {
  const std::lock_guard lock(mutex_);
  Client& c = client(id);
  auto found = c.transactions.extract(tx);
  if (found.empty()) return fail(Errno::enoent);
  const std::uint64_t replaced = tree_.replaced();
  std::vector<Change> changes;
  const Status done =
      commit ? found.mapped().commit(tree_, held_by_transactions(c) + c.watches.bytes(), changes) : Status();
  left_to_snapshots(c, tree_.replaced() - replaced);
  if (done) fire(changes);
  return done;
}

bool Store::has_transaction(ClientId id, TransactionId tx) {
  const std::lock_guard lock(mutex_);
  return client(id).transactions.contains(tx);
}

std::optional<WatchEvent> Store::next_event(ClientId id) {
  const std::lock_guard lock(mutex_);
  return watches_of(client(id)).next_event();
}

std::uint64_t Store::held_for(ClientId id) {
  const std::lock_guard lock(mutex_);
  return held_for(client(id));
}

bool Store::lost_events(ClientId id) {
  const std::lock_guard lock(mutex_);
  return client(id).watches.lost_events();
}

bool Store::check() {
  const std::lock_guard lock(mutex_);
  return tree_.counts_are_right();
}

std::uint64_t Store::steps() {
  const std::lock_guard lock(mutex_);
  return tree_.steps();
}

void Store::introduce(DomId domain) {
  {
    const std::lock_guard lock(mutex_);
    if (introduced_[domain]++ != 0) return;
    fire_special("@introduceDomain", domain);
  }
  deliver();
}

void Store::tell_shutdown(DomId domain) {
  {
    const std::lock_guard lock(mutex_);
    fire_special("@releaseDomain", domain);
  }
  deliver();
}

void Store::release(DomId domain) {
  {
    const std::lock_guard lock(mutex_);
    if (--introduced_[domain] != 0) return;
    introduced_.erase(domain);
    Operations operations(tree_, monitor, quotas_);
    for (const Path& path : tree_.topmost_owned_by(domain)) (void)operations.remove(path);
    fire(operations.changes());
    fire_special("@releaseDomain", domain);
  }
  deliver();
}

bool Store::is_introduced(DomId domain) {
  const std::lock_guard lock(mutex_);
  return domain == DomId(0) || introduced_.contains(domain);
}

void Store::deliver() {
  std::vector<std::shared_ptr<EventListener>> listeners;
  {
    const std::lock_guard lock(mutex_);
    for (const ClientId id : to_wake_) {
      if (auto listener = client(id).listener.lock()) listeners.push_back(std::move(listener));
    }
    to_wake_.clear();
  }
  for (const auto& listener : listeners) listener->events_ready();
}

Store::Client& Store::client(ClientId id) {
  const auto found = clients_.find(id);
  if (found == clients_.end()) std::abort();  // a client's number outlives it only by a bug of ours
  return found->second;
}

void Store::fire(const std::vector<Change>& changes) {
  for (auto& [id, c] : clients_) {
    tree_.count_steps(changes.size() * c.watches.size());
    WatchList& watches = watches_of(c);
    for (const auto& change : changes) {
      if (watches.fire(change)) to_wake_.insert(id);
    }
  }
}

void Store::fire_special(std::string_view name, DomId domain) {
  const Permissions& listeners = special_.find(name)->second;
  for (auto& [id, c] : clients_)
    if (listeners.allows(c.actor, Want::read) && watches_of(c).fire_special(name, domain))
      to_wake_.insert(id);
}

std::uint64_t Store::held_by_transactions(const Client& c) {
  std::uint64_t bytes = c.left_to_snapshots;
  for (const auto& [id, transaction] : c.transactions) bytes += transaction.bytes();
  return bytes;
}

std::uint64_t Store::held_for(const Client& c) const {
  return tree_.owned_by(c.actor.dom).bytes + c.watches.bytes() + held_by_transactions(c);
}

WatchList& Store::watches_of(Client& c) {
  const std::uint64_t held = held_for(c);
  const auto now = clock_();
  c.memory.report(held, now);
  c.watches.set_bounds(now, c.memory.room(held - c.watches.bytes()));
  return c.watches;
}

/// The snapshots go when the last transaction does.
void Store::left_to_snapshots(Client& c, std::uint64_t bytes) {
  c.left_to_snapshots = c.transactions.empty() ? 0 : c.left_to_snapshots + bytes;
}

Status Store::change(ClientId id, TransactionId tx, Transaction::Op op) {
  const std::lock_guard lock(mutex_);
  Client& c = client(id);
  const auto found = c.transactions.find(tx);
  if (tx != TransactionId(0) && found == c.transactions.end()) return fail(Errno::enoent);
  const Status done =
      tx != TransactionId(0) ? found->second.change(std::move(op), room_of(c)) : change_now(c, op);
  c.memory.report(held_for(c), clock_());
  return done;
}

Status Store::change_now(Client& c, const Transaction::Op& op) {
  // A snapshot keeps what is replaced, so any change may take memory; without transactions, one that frees
  // some is always possible.
  if (!c.transactions.empty() && room_of(c) == 0) return fail(Errno::enomem);
  const std::uint64_t replaced = tree_.replaced();
  Operations operations(tree_, c.actor, quotas_, held_by_transactions(c) + c.watches.bytes());
  const Status done = op.run(operations);
  left_to_snapshots(c, tree_.replaced() - replaced);
  if (done) fire(operations.changes());
  return done;
}

template <class Result, class Take>
tl::expected<Result, Errno> Store::look(ClientId id, TransactionId tx, const Path& path, Take take) {
  const std::lock_guard lock(mutex_);
  Client& c = client(id);
  const auto as_result = [&](tl::expected<const Node*, Errno> node) -> tl::expected<Result, Errno> {
    if (!node) return fail(node.error());
    return take(**node);
  };
  if (tx != TransactionId(0)) {
    const auto found = c.transactions.find(tx);
    if (found == c.transactions.end()) return fail(Errno::enoent);
    return as_result(found->second.read(path, room_of(c)));
  }
  Operations operations(tree_, c.actor, quotas_);
  return as_result(operations.read(path));
}

}  // namespace pinfold::devices::xenstore
