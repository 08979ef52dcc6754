// Grants and what is mapped by them, in words.
#pragma once

#include <string>

#include "cli/control/protocol.hpp"

namespace pinfold::cli {

/// One of an answer's "granted": "domain 2, by grant 9, for writing". `self`: the domain that grants.
[[nodiscard]] std::string grant_text(const Json& grant, const Json& self);
/// One of an answer's "mappings": "grant 9 of domain 1, for writing, by handle 3".
[[nodiscard]] std::string mapping_text(const Json& mapping);
/// The array of an answer, empty if it has none: an answer about a frame of a log.
[[nodiscard]] Json list_in(const Json& answer, const char* key);
/// Does the answer about a frame say that another domain has to do with it, or might have?
[[nodiscard]] bool is_mapped_by_grant(const Json& frame);
/// The same frame in a neighbour: "in db, domain 2: …" and what refers to it there. Empty if nothing does.
[[nodiscard]] std::string neighbour_text(const std::string& name, const Json& frame);

}  // namespace pinfold::cli
