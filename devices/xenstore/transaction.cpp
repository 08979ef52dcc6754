#include "devices/xenstore/transaction.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace pinfold::devices::xenstore {

Status Transaction::change(Op op, std::uint64_t room) {
  if (log_.size() + accessed_.size() >= quotas_.transaction_nodes || !may_go_on()) return fail(Errno::enospc);
  // The arguments are here and in the tree.
  const std::uint64_t arguments = 2 * (entry_bytes + op.bytes);
  if (arguments > room) return fail(Errno::enomem);
  const std::uint64_t steps = tree_.steps(), replaced = tree_.replaced();
  const std::uint64_t owned = tree_.owned_by(actor_.dom).bytes;
  Operations operations(tree_, actor_, quotas_);
  const Status done = op.run(operations);
  steps_ += tree_.steps() - steps;
  bytes_ += tree_.replaced() - replaced;
  bytes_ += std::max(owned, tree_.owned_by(actor_.dom).bytes) - owned;
  // A refusal is an answer too: it depends on what it saw.
  if (auto remembered = remember(operations); !remembered) return remembered;
  if (done) {
    bytes_ += arguments;
    log_.push_back(std::move(op));
  }
  return done;
}

tl::expected<const Node*, Errno> Transaction::read(const Path& path, std::uint64_t room) {
  if (!may_go_on()) return fail(Errno::enospc);
  if (2 * (entry_bytes + path.text().size()) > room) return fail(Errno::enomem);
  const std::uint64_t before = tree_.steps();
  Operations operations(tree_, actor_, quotas_);
  auto node = operations.read(path);
  steps_ += tree_.steps() - before;
  if (auto remembered = remember(operations); !remembered) return fail(remembered.error());
  return node;
}

namespace {

/// A transaction happens at once: of several changes of one node, watches hear once.
std::vector<Change> at_once(const std::vector<Change>& changes) {
  std::vector<Change> once;
  std::map<Path, std::size_t> places;
  for (const Change& change : changes) {
    const auto [place, is_new] = places.try_emplace(change.path, once.size());
    if (is_new)
      once.push_back(change);
    else
      once[place->second].after = change.after;
    if (change.gone) {
      if (!is_new) once.push_back(change);
      places.erase(place);
    }
  }
  return once;
}

}  // namespace

Status Transaction::commit(Tree& tree, std::uint64_t elsewhere, std::vector<Change>& changes) const {
  const bool conflict = std::any_of(accessed_.begin(), accessed_.end(), [&](const Path& path) {
    return tree.generation_of(path) != base_.generation_of(path);
  });
  if (conflict) return fail(Errno::eagain);

  Tree replayed = tree;
  Operations operations(replayed, actor_, quotas_, elsewhere);
  for (const auto& op : log_) {
    if (auto done = op.run(operations); !done) return done;
  }
  tree = std::move(replayed);
  changes = at_once(operations.changes());
  return {};
}

Status Transaction::remember(const Operations& done) {
  for (const Path& path : done.accessed()) {
    if (accessed_.insert(path).second) bytes_ += entry_bytes + path.text().size();
  }
  const bool room = accessed_.size() + log_.size() <= quotas_.transaction_nodes;
  return room ? Status() : Status(fail(Errno::enospc));
}

}  // namespace pinfold::devices::xenstore
