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
    if (auto created = create(path, value.size()); !created) return created;
  } else {
    if (!has_room((*node)->permissions.owner(), (*node)->value.size(), value.size()))
      return fail(Errno::enomem);
    record(path, (*node)->permissions, (*node)->permissions);
  }
  tree_.set_value(path, std::move(value));
  return {};
}

Status Operations::mkdir(const Path& path) {
  const auto node = find(path, Want::write);
  if (node) return {};
  return node.error() == Errno::enoent ? create(path, 0) : Status(fail(node.error()));
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
    if (!has_room(actor_.dom, before.size() * sizeof(Permission), permissions.size() * sizeof(Permission)))
      return fail(Errno::enomem);
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

/// The memory is the owner's. Domain 0 has no limit, and what takes no more than before is never refused.
bool Operations::has_room(DomId owner, std::size_t before, std::size_t after) const {
  if (actor_.privileged || owner == DomId(0) || quotas_.memory_hard == 0 || after <= before) return true;
  const std::uint64_t others = owner == actor_.dom ? elsewhere_ : 0;
  return tree_.owned_by(owner).bytes + others + (after - before) < quotas_.memory_hard;
}

/// After `find` said that the actor may create it.
Status Operations::create(const Path& path, std::size_t value_bytes) {
  const Tree::Nearest above = tree_.nearest(path);
  const std::string_view rest = std::string_view(path.text()).substr(above.length);
  const auto slashes = static_cast<std::size_t>(std::count(rest.begin(), rest.end(), '/'));
  const std::size_t missing = above.length == 1 ? slashes + 1 : slashes;
  if (!actor_.privileged && tree_.owned_by(actor_.dom).nodes + missing > quotas_.nodes)
    return fail(Errno::enospc);
  // New nodes inherit their parent's permissions, but a client without privilege owns the nodes that it
  // creates.
  Permissions permissions = above.node->permissions;
  if (!actor_.privileged) permissions.set_owner(actor_.dom);
  const Node sample{{}, permissions, {}, 0};
  if (!has_room(actor_.dom, 0, missing * bytes_of("", sample) + rest.size() + value_bytes))
    return fail(Errno::enomem);
  tree_.create(path, permissions);
  record(path, permissions, permissions);
  return {};
}

}  // namespace pinfold::devices::xenstore
