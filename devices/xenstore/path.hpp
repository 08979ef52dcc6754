// Names of xenstore nodes (xen/io/xs_wire.h, and the xenstore documentation that it names).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pvmmu/errno.hpp"
#include "pvmmu/types.hpp"

namespace pinfold::devices::xenstore {

/// A valid absolute path: '/'-separated names of [A-Za-z0-9-_@], none empty, no slash at the end but the
/// root's own.
class Path {
 public:
  Path() : text_("/") {}
  /// A path as a client writes it; a relative one starts at the client's /local/domain/<id>. A special name
  /// ('@') is no path. EINVAL when it is malformed, or longer than XENSTORE_REL_PATH_MAX, a
  /// /local/domain/<id>/ at its start aside.
  [[nodiscard]] static tl::expected<Path, Errno> parse(std::string_view text, DomId client);
  /// /local/domain/<id>
  [[nodiscard]] static Path of_domain(DomId domain);

  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] bool is_root() const { return text_.size() == 1; }
  /// The root is its own parent.
  [[nodiscard]] Path parent() const;
  [[nodiscard]] Path child(std::string_view name) const;
  /// The path that its first `length` characters are; they end where a name does.
  [[nodiscard]] Path first(std::size_t length) const { return Path(text_.substr(0, length)); }
  /// The last name; empty for the root.
  [[nodiscard]] std::string_view name() const;
  /// The names from the root down.
  [[nodiscard]] std::vector<std::string_view> names() const;
  /// Is this `ancestor` itself, or below it?
  [[nodiscard]] bool is_within(const Path& ancestor) const;

  friend bool operator==(const Path&, const Path&) = default;
  friend auto operator<=>(const Path&, const Path&) = default;

 private:
  explicit Path(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

}  // namespace pinfold::devices::xenstore
