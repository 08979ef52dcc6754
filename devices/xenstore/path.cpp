#include "devices/xenstore/path.hpp"

#include <algorithm>

#include "devices/xen_abi.hpp"

namespace pinfold::devices::xenstore {
namespace {

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
         c == '@' || c == '/';
}

bool is_well_formed(std::string_view absolute) {
  if (absolute == "/") return true;
  return !absolute.ends_with('/') && absolute.find("//") == std::string_view::npos &&
         std::all_of(absolute.begin(), absolute.end(), is_name_char);
}

/// How many characters of the path are a /local/domain/<id>/ at its start.
std::size_t length_of_home(std::string_view path) {
  constexpr std::string_view domains = "/local/domain/";
  if (!path.starts_with(domains)) return 0;
  const auto end = path.find_first_not_of("0123456789", domains.size());
  return end == std::string_view::npos || end == domains.size() || path[end] != '/' ? 0 : end + 1;
}

}  // namespace

tl::expected<Path, Errno> Path::parse(std::string_view text, DomId client) {
  if (text.empty() || text.starts_with('@') || text.size() > XENSTORE_ABS_PATH_MAX)
    return fail(Errno::einval);
  std::string full =
      text.starts_with('/') ? std::string(text) : of_domain(client).text_ + "/" + std::string(text);
  if (full.size() - length_of_home(full) > XENSTORE_REL_PATH_MAX || !is_well_formed(full))
    return fail(Errno::einval);
  return Path(std::move(full));
}

Path Path::of_domain(DomId domain) { return Path("/local/domain/" + std::to_string(domain.raw())); }

Path Path::parent() const {
  const auto slash = text_.rfind('/');
  return slash == 0 ? Path() : Path(text_.substr(0, slash));
}

Path Path::child(std::string_view name) const {
  return Path((is_root() ? std::string() : text_) + "/" + std::string(name));
}

std::string_view Path::name() const { return std::string_view(text_).substr(text_.rfind('/') + 1); }

std::vector<std::string_view> Path::names() const {
  std::vector<std::string_view> names;
  std::string_view rest = std::string_view(text_).substr(1);
  while (!rest.empty()) {
    const auto slash = std::min(rest.find('/'), rest.size());
    names.push_back(rest.substr(0, slash));
    rest.remove_prefix(std::min(slash + 1, rest.size()));
  }
  return names;
}

bool Path::is_within(const Path& ancestor) const {
  if (ancestor.is_root()) return true;
  return text_.starts_with(ancestor.text_) &&
         (text_.size() == ancestor.text_.size() || text_[ancestor.text_.size()] == '/');
}

}  // namespace pinfold::devices::xenstore
