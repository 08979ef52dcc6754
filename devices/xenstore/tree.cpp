#include "devices/xenstore/tree.hpp"

#include <utility>

namespace pinfold::devices::xenstore {

const Node* Tree::find(const Path& path) const {
  const Node* node = root_.get();
  for (const auto name : path.names()) {
    const auto child = node->children.find(name);
    if (child == node->children.end()) return nullptr;
    node = child->second.get();
  }
  return node;
}

std::uint64_t Tree::generation_of(const Path& path) const {
  const Node* node = find(path);
  return node == nullptr ? 0 : node->generation;
}

std::uint32_t Tree::owned_by(DomId domain) const {
  const auto found = owned_.find(domain);
  return found == owned_.end() ? 0 : found->second;
}

void Tree::create(const Path& path, Permissions permissions) {
  count(permissions.owner(), 1);
  auto node = std::make_shared<Node>();
  node->permissions = std::move(permissions);
  node->generation = ++last_generation_;
  edit(path.parent(), [&](Node& parent) { parent.children.emplace(path.name(), std::move(node)); });
}

void Tree::set_value(const Path& path, std::string value) {
  edit(path, [&](Node& node) { node.value = std::move(value); });
}

void Tree::set_permissions(const Path& path, Permissions permissions) {
  edit(path, [&](Node& node) {
    count(node.permissions.owner(), -1);
    count(permissions.owner(), 1);
    node.permissions = std::move(permissions);
  });
}

void Tree::remove(const Path& path) {
  edit(path.parent(), [&](Node& parent) {
    const auto child = parent.children.find(path.name());
    forget(*child->second);
    parent.children.erase(child);
  });
}

template <class Edit>
void Tree::edit(const Path& path, Edit edit) {
  auto root = std::make_shared<Node>(*root_);
  Node* node = root.get();
  for (const auto name : path.names()) {
    auto& link = node->children.find(name)->second;
    auto copy = std::make_shared<Node>(*link);
    node = copy.get();
    link = std::move(copy);
  }
  edit(*node);
  node->generation = ++last_generation_;
  root_ = std::move(root);
}

void Tree::count(DomId owner, int change) { owned_[owner] += static_cast<std::uint32_t>(change); }

void Tree::forget(const Node& node) {
  count(node.permissions.owner(), -1);
  for (const auto& [name, child] : node.children) forget(*child);
}

}  // namespace pinfold::devices::xenstore
