#include "devices/xenstore/tree.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::devices::xenstore {
namespace {

/// The node itself, its entry in its parent, and what their allocations add.
constexpr std::size_t node_bytes = 256;
/// An entry of a list of children that is copied.
constexpr std::size_t entry_bytes = 96;
static_assert(sizeof(Node) + entry_bytes < node_bytes);

}  // namespace

std::size_t bytes_of(std::string_view name, const Node& node) {
  return node_bytes + name.size() + node.value.size() + node.permissions.size() * sizeof(Permission);
}

Tree::Tree() : root_(std::make_shared<Node>()), work_(std::make_shared<Work>()) { add("", *root_); }

const Node* Tree::find(const Path& path) const {
  const Nearest found = nearest(path);
  return found.length == path.text().size() ? found.node : nullptr;
}

Tree::Nearest Tree::nearest(const Path& path) const {
  Nearest found{root_.get(), 1};
  count_steps(1);
  for (const auto name : path.names()) {
    const auto child = found.node->children.find(name);
    if (child == found.node->children.end()) break;
    count_steps(1);
    found.node = child->second.get();
    found.length = static_cast<std::size_t>(name.data() + name.size() - path.text().data());
  }
  return found;
}

std::uint64_t Tree::generation_of(const Path& path) const {
  const Node* node = find(path);
  return node == nullptr ? 0 : node->generation;
}

Holding Tree::owned_by(DomId domain) const {
  const auto found = owned_.find(domain);
  return found == owned_.end() ? Holding() : found->second;
}

namespace {

void find_topmost(const Node& node, const Path& path, DomId owner, std::vector<Path>& found) {
  for (const auto& [name, child] : node.children) {
    if (child->permissions.owner() == owner)
      found.push_back(path.child(name));
    else
      find_topmost(*child, path.child(name), owner, found);
  }
}

void count_owned(std::string_view name, const Node& node, std::map<DomId, Holding>& owned) {
  Holding& holding = owned[node.permissions.owner()];
  ++holding.nodes;
  holding.bytes += bytes_of(name, node);
  for (const auto& [below, child] : node.children) count_owned(below, *child, owned);
}

}  // namespace

std::vector<Path> Tree::topmost_owned_by(DomId domain) const {
  std::vector<Path> found;
  if (owned_by(domain).nodes != 0) find_topmost(*root_, Path(), domain, found);
  return found;
}

bool Tree::counts_are_right() const {
  std::map<DomId, Holding> owned;
  count_owned("", *root_, owned);
  return std::all_of(owned_.begin(), owned_.end(),
                     [&](const auto& count) { return owned[count.first] == count.second; });
}

void Tree::create(const Path& path, const Permissions& permissions) {
  std::vector<std::string_view> missing;
  Node* parent = &for_change(path, missing);
  parent->generation = ++last_generation_;
  for (const auto name : missing) {
    count_steps(1);
    auto node = std::make_shared<Node>();
    node->permissions = permissions;
    add(name, *node);
    node->generation = ++last_generation_;
    parent = parent->children.emplace(name, std::move(node)).first->second.get();
  }
}

void Tree::set_value(const Path& path, std::string value) {
  Node& node = for_change(path);
  subtract(path.name(), node);
  node.value = std::move(value);
  add(path.name(), node);
  node.generation = ++last_generation_;
}

void Tree::set_permissions(const Path& path, Permissions permissions) {
  Node& node = for_change(path);
  subtract(path.name(), node);
  node.permissions = std::move(permissions);
  add(path.name(), node);
  node.generation = ++last_generation_;
}

std::shared_ptr<const Node> Tree::remove(const Path& path) {
  Node& parent = for_change(path.parent());
  parent.generation = ++last_generation_;
  auto removed = parent.children.extract(parent.children.find(path.name()));
  forget(removed.key(), removed.mapped(), false);
  return std::move(removed.mapped());
}

Node& Tree::for_change(const Path& path, std::vector<std::string_view>& rest) {
  rest = path.names();
  Node* node = &own(root_);
  std::size_t found = 0;
  for (; found < rest.size(); ++found) {
    const auto child = node->children.find(rest[found]);
    if (child == node->children.end()) break;
    node = &own(child->second);
  }
  rest.erase(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(found));
  return *node;
}

Node& Tree::for_change(const Path& path) {
  std::vector<std::string_view> none;
  return for_change(path, none);
}

/// Makes the node this tree's alone: copies it if other trees share it. No other thread copies trees
/// meanwhile.
Node& Tree::own(std::shared_ptr<Node>& link) const {
  count_steps(1);
  if (link.use_count() != 1) {
    constexpr std::size_t line = 64;
    work_->replaced += bytes_of("", *link);
    for (const auto& [name, child] : link->children) {
      count_steps(1 + name.size() / line);
      work_->replaced += entry_bytes + name.size();
    }
    link = std::make_shared<Node>(*link);
  }
  return *link;
}

void Tree::add(std::string_view name, const Node& node) {
  Holding& holding = owned_[node.permissions.owner()];
  ++holding.nodes;
  holding.bytes += bytes_of(name, node);
}

void Tree::subtract(std::string_view name, const Node& node) {
  Holding& holding = owned_[node.permissions.owner()];
  --holding.nodes;
  holding.bytes -= bytes_of(name, node);
}

/// Below a node that another tree shares all are shared, though each has one parent.
void Tree::forget(std::string_view name, const std::shared_ptr<Node>& node, bool shared) {
  count_steps(1);
  subtract(name, *node);
  shared = shared || node.use_count() != 1;
  if (shared) work_->replaced += bytes_of(name, *node);
  for (const auto& [below, child] : node->children) forget(below, child, shared);
}

}  // namespace pinfold::devices::xenstore
