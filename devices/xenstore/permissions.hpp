// Who may read and write a xenstore node.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pvmmu/errno.hpp"
#include "pvmmu/types.hpp"

namespace pinfold::devices::xenstore {

/// The client that makes a request. A privileged actor (the monitor itself) may do everything and has no
/// quota.
struct Actor {
  DomId dom;
  bool privileged = false;
};

struct Permission {
  DomId dom;
  bool read = false;
  bool write = false;
  friend bool operator==(const Permission&, const Permission&) = default;
};

enum class Want { read, write };

/// A node's list. The first entry names the owner, who may do everything, and its rights are those of every
/// domain that no later entry names.
class Permissions {
 public:
  explicit Permissions(DomId owner) : list_{Permission{owner}} {}
  /// At least one entry.
  explicit Permissions(std::vector<Permission> list) : list_(std::move(list)) {}

  /// Entries as on the wire, one letter (n, r, w, b) and a domain number each; EINVAL otherwise or if there
  /// are none.
  [[nodiscard]] static tl::expected<Permissions, Errno> parse(const std::vector<std::string_view>& entries);
  /// As on the wire, a NUL after each.
  [[nodiscard]] std::string wire() const;

  [[nodiscard]] DomId owner() const { return list_.front().dom; }
  void set_owner(DomId owner) { list_.front().dom = owner; }
  [[nodiscard]] std::size_t size() const { return list_.size(); }
  [[nodiscard]] bool allows(const Actor& actor, Want want) const;

 private:
  std::vector<Permission> list_;
};

}  // namespace pinfold::devices::xenstore
