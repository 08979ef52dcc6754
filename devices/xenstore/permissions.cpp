#include "devices/xenstore/permissions.hpp"

#include <algorithm>
#include <charconv>

namespace pinfold::devices::xenstore {
namespace {

tl::expected<Permission, Errno> parse_one(std::string_view entry) {
  if (entry.size() < 2) return fail(Errno::einval);
  const char letter = entry.front();
  if (std::string_view("nrwb").find(letter) == std::string_view::npos) return fail(Errno::einval);
  std::uint16_t dom = 0;
  const auto* end = entry.data() + entry.size();
  if (const auto parsed = std::from_chars(entry.data() + 1, end, dom);
      parsed.ec != std::errc() || parsed.ptr != end) {
    return fail(Errno::einval);
  }
  return Permission{DomId(dom), letter == 'r' || letter == 'b', letter == 'w' || letter == 'b'};
}

char letter_of(const Permission& p) {
  if (p.read) return p.write ? 'b' : 'r';
  return p.write ? 'w' : 'n';
}

}  // namespace

tl::expected<Permissions, Errno> Permissions::parse(const std::vector<std::string_view>& entries) {
  std::vector<Permission> list;
  for (const auto entry : entries) {
    const auto permission = parse_one(entry);
    if (!permission) return fail(permission.error());
    list.push_back(*permission);
  }
  if (list.empty()) return fail(Errno::einval);
  return Permissions(std::move(list));
}

std::string Permissions::wire() const {
  std::string text;
  for (const auto& p : list_) {
    text += letter_of(p);
    text += std::to_string(p.dom.raw());
    text += '\0';
  }
  return text;
}

bool Permissions::allows(const Actor& actor, Want want) const {
  if (actor.privileged || actor.dom == owner()) return true;
  const auto named =
      std::find_if(list_.begin() + 1, list_.end(), [&](const Permission& p) { return p.dom == actor.dom; });
  const Permission& rights = named == list_.end() ? list_.front() : *named;
  return want == Want::read ? rights.read : rights.write;
}

}  // namespace pinfold::devices::xenstore
