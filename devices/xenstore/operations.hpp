// What a client may do to a tree: xenstore's permission and quota rules over one Tree.
#pragma once

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "devices/xenstore/tree.hpp"

namespace pinfold::devices::xenstore {

/// Limits for each unprivileged domain; xenstored's defaults where it has them.
struct Quotas {
  std::uint32_t nodes = 1000;
  std::uint32_t value_bytes = 2048;
  std::uint32_t permissions_per_node = 5;
  std::uint32_t watches = 128;
  std::uint32_t transactions = 10;
  /// Nodes looked at plus changes made, in one transaction.
  std::uint32_t transaction_nodes = 1024;
  /// Steps of a transaction's operations (Tree): committing takes as many again, at a stretch. Enough for as
  /// many nodes as above, eight names deep.
  std::uint64_t transaction_steps = 16384;
  /// Watch events that wait for a client; more are dropped.
  std::uint32_t events = 1024;
  /// How long a watch event waits at least before it is dropped; 0: for ever.
  std::chrono::seconds event_timeout{20};
  /// Bytes that the store holds for a domain: nodes, watches, waiting events, open transactions. From the
  /// soft limit on, the log says so; a request that would reach the hard one gets ENOMEM. 0: no limit.
  std::uint64_t memory_soft = 2 << 20;
  std::uint64_t memory_hard = (2 << 20) + (512 << 10);

  /// For clients of domain 0, which have no limits in their nodes.
  [[nodiscard]] static Quotas of_the_host() {
    return {.watches = 8192,
            .transactions = 128,
            .transaction_nodes = 65'536,
            .transaction_steps = 1 << 20,
            .events = 16'384,
            .event_timeout = std::chrono::seconds(0),
            .memory_soft = 0,
            .memory_hard = 0};
  }
};

/// Something that watches fire for.
struct Change {
  Path path;
  /// Who may see it: the node's permissions before and after (the same where only one exists), and its
  /// parent's. Whoever may read any of them.
  Permissions before;
  Permissions after;
  Permissions parent;
  /// The node, if it went away: with it went all below it, for each of which only watches on its very path
  /// fire.
  std::shared_ptr<const Node> gone = nullptr;
};

/// One actor's operations on one tree. An operation that fails changes nothing. Errors are xenstored's:
/// ENOENT, EACCES (also for what would be ENOENT below a node that the actor may not read), ENOSPC over
/// quota, ENOMEM over that of memory, EINVAL.
class Operations {
 public:
  /// `elsewhere`: what the store holds for the actor's domain besides the tree's nodes, in bytes.
  Operations(Tree& tree, Actor actor, const Quotas& quotas, std::uint64_t elsewhere = 0)
      : tree_(tree), actor_(actor), quotas_(quotas), elsewhere_(elsewhere) {}

  /// Valid until the tree is changed.
  [[nodiscard]] tl::expected<const Node*, Errno> read(const Path& path);
  /// Creates the node, and missing ones above it.
  [[nodiscard]] Status write(const Path& path, std::string value);
  /// As write, but leaves an existing node's value alone.
  [[nodiscard]] Status mkdir(const Path& path);
  /// Removing what does not exist is no error if its parent does.
  [[nodiscard]] Status remove(const Path& path);
  /// The owner's right; giving a node away needs privilege (EPERM).
  [[nodiscard]] Status set_permissions(const Path& path, Permissions permissions);

  /// The nodes that the results depend on, existing or not.
  [[nodiscard]] const std::set<Path>& accessed() const { return accessed_; }
  [[nodiscard]] const std::vector<Change>& changes() const { return changes_; }

 private:
  [[nodiscard]] tl::expected<const Node*, Errno> find(const Path& path, Want want);
  [[nodiscard]] Status create(const Path& path, std::size_t value_bytes);
  [[nodiscard]] bool has_room(DomId owner, std::size_t before, std::size_t after) const;
  void record(const Path& path, const Permissions& before, const Permissions& after,
              std::shared_ptr<const Node> gone = nullptr);

  Tree& tree_;
  Actor actor_;
  const Quotas& quotas_;
  std::uint64_t elsewhere_;
  std::set<Path> accessed_;
  std::vector<Change> changes_;
};

}  // namespace pinfold::devices::xenstore
