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

  /// An operation; `run` must do the same again when it is replayed.
  struct Op {
    std::function<Status(Operations&)> run;
    std::size_t bytes;  ///< What its arguments take.
  };
  /// A change on the snapshot. ENOSPC when the transaction has grown too large, or has taken too many steps;
  /// ENOMEM when `room`, in bytes, is not enough to remember it. What the tree takes may then be more than
  /// `room`, by what one operation copies.
  [[nodiscard]] Status change(Op op, std::uint64_t room);
  /// Valid until the next call. Errors as of change().
  [[nodiscard]] tl::expected<const Node*, Errno> read(const Path& path, std::uint64_t room);
  /// What the transaction takes: its operations, and what it has copied of the tree.
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

  /// EAGAIN on a conflict; ENOSPC or ENOMEM if the quota has been used up by others meanwhile; `elsewhere` as
  /// for Operations. On failure `tree` is as before.
  [[nodiscard]] Status commit(Tree& tree, std::uint64_t elsewhere, std::vector<Change>& changes) const;

 private:
  /// Of one operation's path and the one above it that it looked at.
  static constexpr std::uint64_t entry_bytes = 128;
  [[nodiscard]] Status remember(const Operations& done);
  [[nodiscard]] bool may_go_on() const { return steps_ < quotas_.transaction_steps; }

  Tree base_;
  Tree tree_;
  Actor actor_;
  const Quotas& quotas_;
  std::uint64_t steps_ = 0;  ///< What its operations took so far.
  std::uint64_t bytes_ = 1024;
  std::set<Path> accessed_;
  std::vector<Op> log_;
};

}  // namespace pinfold::devices::xenstore
