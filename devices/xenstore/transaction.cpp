#include "devices/xenstore/transaction.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace pinfold::devices::xenstore {

Status Transaction::change(Op op) {
  if (log_.size() + accessed_.size() >= quotas_.transaction_nodes || !may_go_on()) return fail(Errno::enospc);
  const std::uint64_t before = tree_.steps();
  Operations operations(tree_, actor_, quotas_);
  const Status done = op(operations);
  steps_ += tree_.steps() - before;
  // A refusal is an answer too: it depends on what it saw.
  if (auto room = remember(operations); !room) return room;
  if (done) log_.push_back(std::move(op));
  return done;
}

tl::expected<const Node*, Errno> Transaction::read(const Path& path) {
  if (!may_go_on()) return fail(Errno::enospc);
  const std::uint64_t before = tree_.steps();
  Operations operations(tree_, actor_, quotas_);
  auto node = operations.read(path);
  steps_ += tree_.steps() - before;
  if (auto room = remember(operations); !room) return fail(room.error());
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

Status Transaction::commit(Tree& tree, std::vector<Change>& changes) const {
  const bool conflict = std::any_of(accessed_.begin(), accessed_.end(), [&](const Path& path) {
    return tree.generation_of(path) != base_.generation_of(path);
  });
  if (conflict) return fail(Errno::eagain);

  Tree replayed = tree;
  Operations operations(replayed, actor_, quotas_);
  for (const auto& op : log_) {
    if (auto done = op(operations); !done) return done;
  }
  tree = std::move(replayed);
  changes = at_once(operations.changes());
  return {};
}

Status Transaction::remember(const Operations& done) {
  accessed_.insert(done.accessed().begin(), done.accessed().end());
  const bool room = accessed_.size() + log_.size() <= quotas_.transaction_nodes;
  return room ? Status() : Status(fail(Errno::enospc));
}

}  // namespace pinfold::devices::xenstore
