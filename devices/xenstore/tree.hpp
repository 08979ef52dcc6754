// The nodes of a xenstore, as a value: copying a tree is cheap, and a copy never changes when the original
// does.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "devices/xenstore/path.hpp"
#include "devices/xenstore/permissions.hpp"

namespace pinfold::devices::xenstore {

struct Node {
  std::string value;
  Permissions permissions{DomId(0)};
  std::map<std::string, std::shared_ptr<const Node>, std::less<>> children;
  /// Changes with the value, the permissions and the set of children's names; not with what happens further
  /// down.
  std::uint64_t generation = 0;
};

/// Nodes are shared between copies and never modified: a change replaces the nodes on the way from the root.
/// No permission or quota is looked at here. Not thread-safe.
class Tree {
 public:
  Tree() : root_(std::make_shared<const Node>()) {}

  /// Null if there is none. Valid until this tree is changed.
  [[nodiscard]] const Node* find(const Path& path) const;
  /// 0 for a node that does not exist.
  [[nodiscard]] std::uint64_t generation_of(const Path& path) const;
  /// How many nodes the domain owns.
  [[nodiscard]] std::uint32_t owned_by(DomId domain) const;

  /// Adds a node without value below an existing parent, which has no such child.
  void create(const Path& path, Permissions permissions);
  /// Of an existing node.
  void set_value(const Path& path, std::string value);
  void set_permissions(const Path& path, Permissions permissions);
  /// Removes an existing node, not the root, with all below it.
  void remove(const Path& path);

 private:
  /// Replaces the node at `path` and those above it by copies, the lowest changed by `edit` and a generation
  /// younger.
  template <class Edit>
  void edit(const Path& path, Edit edit);
  void count(DomId owner, int change);
  void forget(const Node& node);

  std::shared_ptr<const Node> root_;
  std::map<DomId, std::uint32_t> owned_;
  std::uint64_t last_generation_ = 0;
};

}  // namespace pinfold::devices::xenstore
