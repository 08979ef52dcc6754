// The nodes of a xenstore, as a value: copying a tree costs nothing, and a copy never changes when the
// original does.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "devices/xenstore/path.hpp"
#include "devices/xenstore/permissions.hpp"

namespace pinfold::devices::xenstore {

struct Node {
  std::string value;
  Permissions permissions{DomId(0)};
  std::map<std::string, std::shared_ptr<Node>, std::less<>> children;
  /// Changes with the value, the permissions and the set of children's names; not with what happens further
  /// down.
  std::uint64_t generation = 0;
};

/// What a node takes of its owner's memory, in bytes, its children aside; `name` is the one in its parent.
[[nodiscard]] std::size_t bytes_of(std::string_view name, const Node& node);

/// What a domain owns of a tree.
struct Holding {
  std::uint32_t nodes = 0;
  std::uint64_t bytes = 0;
  friend bool operator==(const Holding&, const Holding&) = default;
};

/// Copies share their nodes until either changes: a change copies those nodes on the way from the root that
/// it shares with another tree, each with the list of its children, and changes the others in place. So after
/// a copy each directory is copied once at most, however many of its nodes change.
///
/// Work is counted in steps: a node looked at, changed, copied or forgotten, or a child's entry copied. All
/// copies of a tree count together. No permission or quota is looked at here. Not thread-safe.
class Tree {
 public:
  Tree();

  /// Null if there is none. Valid until this tree is changed.
  [[nodiscard]] const Node* find(const Path& path) const;
  /// The node at `path`, or the nearest above it that there is, and how many characters of the path name it.
  struct Nearest {
    const Node* node;
    std::size_t length;
  };
  [[nodiscard]] Nearest nearest(const Path& path) const;
  /// 0 for a node that does not exist.
  [[nodiscard]] std::uint64_t generation_of(const Path& path) const;
  /// The domain's nodes, those below another one of them aside.
  [[nodiscard]] std::vector<Path> topmost_owned_by(DomId domain) const;
  /// Do the counts of owned_by() agree with the nodes?
  [[nodiscard]] bool counts_are_right() const;
  [[nodiscard]] Holding owned_by(DomId domain) const;

  /// Adds a node without value where there is none, and those above it that are missing.
  void create(const Path& path, const Permissions& permissions);
  /// Of an existing node.
  void set_value(const Path& path, std::string value);
  void set_permissions(const Path& path, Permissions permissions);
  /// Removes an existing node, not the root, with all below it, which it gives back.
  std::shared_ptr<const Node> remove(const Path& path);

  /// Steps so far, of this tree and all copies.
  [[nodiscard]] std::uint64_t steps() const { return work_->steps; }
  void count_steps(std::uint64_t n) const { work_->steps += n; }
  /// Bytes of shared nodes that were copied or removed so far, in this tree and all copies. As long as other
  /// trees keep the nodes of before, that much is held twice, or is held though nobody owns it.
  [[nodiscard]] std::uint64_t replaced() const { return work_->replaced; }

 private:
  /// The node at `path`, or the nearest above it, for changing; `rest` is what it is not named by.
  [[nodiscard]] Node& for_change(const Path& path, std::vector<std::string_view>& rest);
  [[nodiscard]] Node& for_change(const Path& path);
  [[nodiscard]] Node& own(std::shared_ptr<Node>& link) const;
  void add(std::string_view name, const Node& node);
  void subtract(std::string_view name, const Node& node);
  void forget(std::string_view name, const std::shared_ptr<Node>& node, bool shared);

  std::shared_ptr<Node> root_;
  struct Work {
    std::uint64_t steps = 0;
    std::uint64_t replaced = 0;
  };
  std::shared_ptr<Work> work_;
  std::map<DomId, Holding> owned_;
  std::uint64_t last_generation_ = 0;
};

}  // namespace pinfold::devices::xenstore
