#include "devices/xenstore/operations.hpp"

#include <utility>

namespace pinfold::devices::xenstore {

tl::expected<const Node*, Errno> Operations::read(const Path& path) { return find(path, Want::read); }

Status Operations::write(const Path& path, std::string value) {
  if (!actor_.privileged && value.size() > quotas_.value_bytes) return fail(Errno::enospc);
  const auto node = find(path, Want::write);
  if (!node && node.error() != Errno::enoent) return fail(node.error());
  if (!node) {
    if (auto created = create(path); !created) return created;
  } else {
    changes_.push_back({path, (*node)->permissions, (*node)->permissions});
  }
  tree_.set_value(path, std::move(value));
  return {};
}

Status Operations::mkdir(const Path& path) {
  const auto node = find(path, Want::write);
  if (node) return {};
  return node.error() == Errno::enoent ? create(path) : Status(fail(node.error()));
}

Status Operations::remove(const Path& path) {
  if (path.is_root()) return fail(Errno::einval);
  const auto node = find(path, Want::write);
  if (!node) {
    if (node.error() != Errno::enoent) return fail(node.error());
    accessed_.insert(path.parent());
    return tree_.find(path.parent()) != nullptr ? Status() : Status(fail(Errno::enoent));
  }
  note_removal(path, **node, false);
  tree_.remove(path);
  return {};
}

Status Operations::set_permissions(const Path& path, Permissions permissions) {
  const auto node = find(path, Want::read);
  if (!node) return fail(node.error());
  const Permissions before = (*node)->permissions;
  if (!actor_.privileged) {
    if (before.owner() != actor_.dom) return fail(Errno::eacces);
    if (permissions.owner() != actor_.dom) return fail(Errno::eperm);
    if (permissions.size() > quotas_.permissions_per_node) return fail(Errno::enospc);
  }
  changes_.push_back({path, before, permissions});
  tree_.set_permissions(path, std::move(permissions));
  return {};
}

tl::expected<const Node*, Errno> Operations::find(const Path& path, Want want) {
  accessed_.insert(path);
  const Node* node = tree_.find(path);
  if (node == nullptr) {
    // What is missing takes its rights from the nearest node above: who may not write there can't create it,
    // and who may not read there does not learn that it is missing.
    for (Path above = path; node == nullptr;) {
      above = above.parent();
      node = tree_.find(above);
      if (node != nullptr) accessed_.insert(above);
    }
    return fail(node->permissions.allows(actor_, want) ? Errno::enoent : Errno::eacces);
  }
  if (!node->permissions.allows(actor_, want)) return fail(Errno::eacces);
  return node;
}

/// After `find` said that the actor may create it.
Status Operations::create(const Path& path) {
  std::vector<Path> missing;
  Path above = path;
  for (; tree_.find(above) == nullptr; above = above.parent()) missing.push_back(above);
  if (!actor_.privileged && tree_.owned_by(actor_.dom) + missing.size() > quotas_.nodes) {
    return fail(Errno::enospc);
  }
  // New nodes inherit their parent's permissions, but whoever has no privilege owns what it creates.
  Permissions permissions = tree_.find(above)->permissions;
  if (!actor_.privileged) permissions.set_owner(actor_.dom);
  for (auto it = missing.rbegin(); it != missing.rend(); ++it) tree_.create(*it, permissions);
  changes_.push_back({path, permissions, permissions});
  return {};
}

void Operations::note_removal(const Path& path, const Node& node, bool exact) {
  changes_.push_back({path, node.permissions, node.permissions, exact});
  for (const auto& [name, child] : node.children) note_removal(path.child(name), *child, true);
}

}  // namespace pinfold::devices::xenstore
