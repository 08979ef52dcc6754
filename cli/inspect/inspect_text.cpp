#include "cli/inspect/inspect_text.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <vector>

#include "cli/inspect/grant_text.hpp"
#include "cli/json_number.hpp"

namespace pinfold::cli {
namespace {

std::uint64_t count(const Json& object, const char* key) { return whole_number(object.at(key)); }
std::string text(const Json& object, const char* key) { return object.at(key).get<std::string>(); }
bool flag(const Json& object, const char* key) { return object.at(key).get<bool>(); }

std::string frame_number(const Json& number) {
  return number.is_null() ? std::string("none") : hex(whole_number(number));
}

std::string users_of(const Json& table) {
  std::vector<std::string> users;
  if (flag(table, "pinned")) users.emplace_back("pinned");
  for (const Json& user : table.at("outside")) users.push_back(outside_text(user));
  constexpr std::size_t shown = 4;
  const std::uint64_t total = count(table, "named_by_total");
  for (const Json& entry : table.at("named_by")) {
    if (users.size() >= shown + 2) break;
    users.push_back(place_text(entry));
  }
  const std::uint64_t told = std::min<std::uint64_t>(table.at("named_by").size(), total);
  if (users.empty()) return "nobody";
  std::string line = fmt::format("{}", fmt::join(users, ", "));
  if (told < total || users.size() >= shown + 2) line += fmt::format(" ({} entries)", total);
  return line;
}

/// A type without references has no effect.
std::string type_of(const Json& frame) {
  const std::uint64_t relied_upon = count(frame, "type_references");
  if (relied_upon == 0) return "no type relied upon";
  return fmt::format("type {}, {}", text(frame, "type"), counted(relied_upon, "type reference"));
}

/// Where a page is seen.
std::string addresses_of(const Json& entry) {
  std::vector<std::string> seen;
  for (const Json& at : entry.at("addresses"))
    seen.push_back(fmt::format("{} under {}", text(at, "address"), frame_number(at.at("root"))));
  if (seen.empty()) return "under no root";
  return fmt::format("at {}{}", fmt::join(seen, ", "), flag(entry, "addresses_complete") ? "" : " and more");
}

std::string entry_line(const Json& entry) {
  const bool leaf = count(entry, "level") == 1;
  return fmt::format("  {}: {}{}, {}\n", place_text(entry), text(entry, "entry"),
                     !leaf                     ? " (as a table)"
                     : flag(entry, "writable") ? " (writable)"
                                               : " (read-only)",
                     addresses_of(entry));
}

std::string owner_of(const Json& frame) {
  return frame.at("owner").is_null() ? "nobody's" : fmt::format("domain {}'s", count(frame, "owner"));
}

/// Of the guest that was asked.
std::string of_guest(const Json& f) {
  const std::string number = frame_number(f.at("frame"));
  if (!flag(f, "owned") && !is_mapped_by_grant(f))
    return fmt::format("frame {}: {}; the guest's view has no access to it\n", number, owner_of(f));
  if (!flag(f, "owned"))
    return fmt::format("frame {}: {}, mapped by its grants\n  view: {}\nheld by\n", number, owner_of(f),
                       text(f, "view")) +
           holders_text(f);
  return fmt::format("frame {}: {}{}{}\n  {}; {}\n  view: {}; mirror: {}\nheld by\n", number, owner_of(f),
                     f.at("pfn").is_null() ? std::string() : ", its frame " + frame_number(f.at("pfn")),
                     flag(f, "special") ? ", shared with the monitor" : "", type_of(f),
                     counted(count(f, "references"), "reference"), text(f, "view"),
                     f.at("mirror").is_null() ? "none" : "frame " + frame_number(f.at("mirror"))) +
         holders_text(f);
}

}  // namespace

std::string counted(std::uint64_t number, const char* what) {
  return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
}

std::string place_text(const Json& place) {
  return fmt::format("L{} {} slot {}", count(place, "level"), frame_number(place.at("table")),
                     count(place, "slot"));
}

std::string outside_text(const Json& user) {
  const std::string kind = text(user, "kind");
  const auto of_vcpu = [&](const char* what) {
    return fmt::format("{} of vCPU {}", what, count(user, "vcpu"));
  };
  if (kind == "kernel_root") return of_vcpu("kernel root");
  if (kind == "user_root") return of_vcpu("user root");
  if (kind == "gdt") return of_vcpu("GDT");
  if (kind == "ldt") return of_vcpu("LDT");
  // From a log, which has the vCPU of a request but not the register.
  if (kind == "root") return fmt::format("a root that vCPU {} loaded", count(user, "vcpu"));
  if (kind == "descriptors") return fmt::format("a GDT or LDT that vCPU {} set", count(user, "vcpu"));
  if (kind == "shared") return "vcpu_info, event queues or a granted page, shared with the monitor";
  return kind == "reader" ? "the monitor, which reads a granted page" : "the monitor";
}

std::string tables_text(const Json& answer, unsigned level) {
  std::string out = fmt::format("{:<10} {:<5} {:>5} {:>5} {:>8}  {}\n", "TABLE", "LEVEL", "REFS", "TYPE",
                                "PRESENT", "USED BY");
  std::array<std::uint64_t, 5> of_level{};
  bool explained = true;
  for (const Json& table : answer.at("tables")) {
    const std::uint64_t here = count(table, "level");
    if (here < of_level.size()) ++of_level[here];
    explained = explained && flag(table, "explained");
    if (level != 0 && here != level) continue;
    out += fmt::format("{:<10} L{:<4} {:>5} {:>5} {:>8}  {}{}\n", frame_number(table.at("table")), here,
                       count(table, "references"), count(table, "type_references"), count(table, "present"),
                       users_of(table), flag(table, "validated") ? "" : " (being checked)");
  }
  out += fmt::format("{} tables: {} L4, {} L3, {} L2, {} L1; ", answer.at("tables").size(), of_level[4],
                     of_level[3], of_level[2], of_level[1]);
  out += explained                ? "every type reference has its user\n"
         : flag(answer, "paused") ? "SOME TYPE REFERENCES HAVE NO USER\n"
                                  : "the guest changed some of them meanwhile\n";
  for (const Json& mapping : list_in(answer, "borrowed"))
    out += fmt::format("frame {}: {}\n", frame_number(mapping.at("frame")), mapping_text(mapping));
  return out;
}

std::string frame_text(const Json& f) {
  std::string out = of_guest(f);
  for (const Json& neighbour : list_in(f, "neighbours"))
    out += neighbour_text(text(neighbour, "name"), neighbour.at("answer"));
  return out;
}

std::string holders_text(const Json& f) {
  std::string out;
  if (f.value("allocated", false)) out += "  the domain's allocation\n";
  if (f.value("pinned", false)) out += "  a pin\n";
  for (const Json& user : f.at("outside")) out += "  " + outside_text(user) + "\n";
  const Json self = f.value("domain", Json());
  for (const Json& grant : list_in(f, "granted")) out += "  " + grant_text(grant, self) + "\n";
  for (const Json& mapping : list_in(f, "mappings")) out += "  " + mapping_text(mapping) + "\n";
  for (const Json& entry : f.at("entries")) out += entry_line(entry);
  if (count(f, "entries_total") > f.at("entries").size())
    out += fmt::format("  and {} entries more\n", count(f, "entries_total") - f.at("entries").size());
  return out;
}

std::string walk_text(const Json& w) {
  std::string out = fmt::format(
      "{} in the {} page table of vCPU {}: root {}; the processor's CR3 is frame {}\n", text(w, "address"),
      text(w, "mode"), count(w, "vcpu"), frame_number(w.at("root")), frame_number(w.at("processor_root")));
  for (const Json& step : w.at("steps"))
    out += fmt::format("  L{} table {:<8} slot {:>3}: {:<20} mirror {:<8} {}\n", count(step, "level"),
                       frame_number(step.at("table")), count(step, "slot"), text(step, "entry"),
                       frame_number(step.at("mirror")), text(step, "mirrored"));
  if (!flag(w, "mapped")) return out + "not mapped\n";
  const Json& frame = w.at("frame");
  return out + fmt::format("frame {}: {}, {}; {}\n", frame_number(frame.at("frame")),
                           flag(w, "writable") ? "writable" : "read-only",
                           flag(w, "executable") ? "executable" : "not executable",
                           flag(frame, "owned")        ? type_of(frame)
                           : is_mapped_by_grant(frame) ? owner_of(frame) + ", mapped by its grant"
                                                       : "not the domain's");
}

}  // namespace pinfold::cli
