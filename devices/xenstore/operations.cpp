#include "devices/xenstore/operations.hpp"

#include <algorithm>
#include <string_view>
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
    record(path, (*node)->permissions, (*node)->permissions);
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
  const Permissions permissions = (*node)->permissions;
  auto gone = tree_.remove(path);
  record(path, permissions, permissions, std::move(gone));
  return {};
}

Status Operations::set_permissions(const Path& path, Permissions permissions) {
  const auto node = find(path, Want::write);
  if (!node) return fail(node.error());
  const Permissions before = (*node)->permissions;
  if (!actor_.privileged) {
    if (before.owner() != actor_.dom) return fail(Errno::eacces);
    if (permissions.owner() != actor_.dom) return fail(Errno::eperm);
    if (permissions.size() > quotas_.permissions_per_node) return fail(Errno::enospc);
  }
  record(path, before, permissions);
  tree_.set_permissions(path, std::move(permissions));
  return {};
}

void Operations::record(const Path& path, const Permissions& before, const Permissions& after,
                        std::shared_ptr<const Node> gone) {
  changes_.push_back({path, before, after, tree_.nearest(path.parent()).node->permissions, std::move(gone)});
}

tl::expected<const Node*, Errno> Operations::find(const Path& path, Want want) {
  accessed_.insert(path);
  const Tree::Nearest found = tree_.nearest(path);
  const bool allowed = found.node->permissions.allows(actor_, want);
  if (found.length == path.text().size())
    return allowed ? tl::expected<const Node*, Errno>(found.node) : fail(Errno::eacces);
  // A missing node has the rights of the nearest node above it. Without write access there, a client can't
  // create it; without read access, it does not learn that the node is missing.
  accessed_.insert(path.first(found.length));
  return fail(allowed ? Errno::enoent : Errno::eacces);
}

/// After `find` said that the actor may create it.
Status Operations::create(const Path& path) {
  const Tree::Nearest above = tree_.nearest(path);
  const std::string_view rest = std::string_view(path.text()).substr(above.length);
  const auto slashes = static_cast<std::size_t>(std::count(rest.begin(), rest.end(), '/'));
  const std::size_t missing = above.length == 1 ? slashes + 1 : slashes;
  if (!actor_.privileged && tree_.owned_by(actor_.dom) + missing > quotas_.nodes) return fail(Errno::enospc);
  // New nodes inherit their parent's permissions, but a client without privilege owns the nodes that it
  // creates.
  Permissions permissions = above.node->permissions;
  if (!actor_.privileged) permissions.set_owner(actor_.dom);
  tree_.create(path, permissions);
  record(path, permissions, permissions);
  return {};
}

}  // namespace pinfold::devices::xenstore
