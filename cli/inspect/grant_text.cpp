#include "cli/inspect/grant_text.hpp"

#include <fmt/format.h>

#include "cli/inspect/inspect_text.hpp"
#include "cli/json_number.hpp"

namespace pinfold::cli {
namespace {

const char* access_text(bool writes) { return writes ? "for writing" : "for reading"; }

std::string user_of(const Json& domain, const Json& self) {
  // The monitor's backends are what domain 0's would be.
  if (whole_number(domain) == 0) return "a device's backend";
  if (domain == self) return "the domain itself";
  return fmt::format("domain {}", whole_number(domain));
}

}  // namespace

std::string grant_text(const Json& grant, const Json& self) {
  const auto uses = whole_number(grant.at("readers")) + whole_number(grant.at("writers"));
  return fmt::format("{}, by grant {}, {}{}", user_of(grant.at("domain"), self),
                     whole_number(grant.at("grant")), access_text(whole_number(grant.at("writers")) != 0),
                     uses == 1 ? std::string() : fmt::format(", {} uses", uses));
}

std::string mapping_text(const Json& mapping) {
  return fmt::format("grant {} of domain {}, {}, by handle {}{}", whole_number(mapping.at("grant")),
                     whole_number(mapping.at("owner")), access_text(mapping.at("writable").get<bool>()),
                     whole_number(mapping.at("handle")),
                     mapping.at("by_entry").get<bool>() ? "" : ", for devices alone");
}

Json list_in(const Json& answer, const char* key) {
  const auto found = answer.find(key);
  return found == answer.end() ? Json::array() : *found;
}

bool is_mapped_by_grant(const Json& frame) {
  return frame.contains("borrowed") && !frame.at("borrowed").is_null();
}

std::string neighbour_text(const std::string& name, const Json& frame) {
  const bool owned = frame.at("owned").get<bool>();
  if (!owned && !is_mapped_by_grant(frame) && list_in(frame, "mappings").empty()) return "";
  return fmt::format("in {}, domain {}\n{}", name, whole_number(frame.at("domain")), holders_text(frame));
}

}  // namespace pinfold::cli
