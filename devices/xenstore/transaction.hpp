// A group of operations that happen all at once or not at all.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "devices/xenstore/operations.hpp"

namespace pinfold::devices::xenstore {

/// Works on a snapshot and remembers what it looked at and what it changed. Committing replays the changes on
/// the tree of then, if nothing that the transaction looked at has changed in between. Not thread-safe.
class Transaction {
 public:
  Transaction(const Tree& tree, Actor actor, const Quotas& quotas)
      : base_(tree), tree_(tree), actor_(actor), quotas_(quotas) {}

  /// Runs an operation on the snapshot; `op` must do the same again when it is replayed.
  using Op = std::function<Status(Operations&)>;
  /// A change. ENOSPC when the transaction has grown too large, or has taken too many steps.
  [[nodiscard]] Status change(Op op);
  /// Valid until the next call.
  [[nodiscard]] tl::expected<const Node*, Errno> read(const Path& path);

  /// EAGAIN on a conflict; ENOSPC if the quota has been used up by others meanwhile. On failure `tree` is as
  /// before.
  [[nodiscard]] Status commit(Tree& tree, std::vector<Change>& changes) const;

 private:
  [[nodiscard]] Status remember(const Operations& done);
  [[nodiscard]] bool may_go_on() const { return steps_ < quotas_.transaction_steps; }

  Tree base_;
  Tree tree_;
  Actor actor_;
  const Quotas& quotas_;
  std::uint64_t steps_ = 0;  ///< What its operations took so far.
  std::set<Path> accessed_;
  std::vector<Op> log_;
};

}  // namespace pinfold::devices::xenstore
