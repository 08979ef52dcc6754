#include "cli/inspect/explain.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

#include "cli/inspect/grant_text.hpp"
#include "cli/inspect/inspect_text.hpp"
#include "cli/json_number.hpp"
#include "pvmmu/rule_reasons.hpp"

namespace pinfold::cli {
namespace {

using pvmmu::Rule;

constexpr std::size_t text_width = 100;

/// `text` in lines of at most `text_width`, the first after `label`, the others below its end.
std::string paragraph(std::string_view label, std::string_view text) {
  const std::string indent(label.size(), ' ');
  std::string out(label);
  std::size_t column = label.size();
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    if (column + end + 1 > text_width) {
      out += "\n" + indent;
      column = indent.size();
    }
    out += std::string(column == label.size() ? "" : " ") + std::string(text.substr(0, end));
    column += end + 1;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out + "\n";
}

Json refused(const char* change, std::initializer_list<Rule> rules) {
  Json names = Json::array();
  for (const Rule rule : rules) names.push_back(pvmmu::info(rule).name);
  return {{"change", change}, {"rules", names}};
}

/// The changes that are refused for a frame of this type while there are references to the type.
Json refusals(const std::string& type) {
  if (type == "writable")
    return Json::array({refused("use it as a page table, or load it as a root",
                                {Rule::upper_wrong_type, Rule::frame_wrong_type, Rule::root_not_l4}),
                        refused("use it as a descriptor page", {Rule::frame_wrong_type}),
                        refused("give it back or exchange it", {Rule::frame_in_use})});
  Json all = Json::array({refused("map it writable", {Rule::l1_writable_map_of_table})});
  if (type == "seg_desc")
    all.push_back(refused("use it as a page table", {Rule::upper_wrong_type, Rule::frame_wrong_type}));
  else
    all.push_back(refused("use it as a table of another level, or as a descriptor page",
                          {Rule::upper_wrong_type, Rule::upper_linear, Rule::frame_wrong_type}));
  all.push_back(refused("give it back or exchange it", {Rule::frame_in_use}));
  return all;
}

const char* way_out(const std::string& kind) {
  if (kind == "kernel_root") return "load another root (MMUEXT_NEW_BASEPTR)";
  if (kind == "user_root") return "load another one (MMUEXT_NEW_USER_BASEPTR)";
  if (kind == "gdt") return "set a GDT of other frames (set_gdt)";
  if (kind == "ldt") return "set another LDT (MMUEXT_SET_LDT), or load another root";
  if (kind == "root") return "load another root (MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR)";
  if (kind == "descriptors") return "set a GDT of other frames (set_gdt), or another LDT (MMUEXT_SET_LDT)";
  return "none: it stays for as long as the domain lives";
}

std::string mapped_at(const Json& entry) {
  const Json& addresses = entry.at("addresses");
  if (addresses.empty()) return "";
  return fmt::format(", at {}", addresses[0].at("address").get<std::string>());
}

Json holder_of(const Json& entry) {
  const std::string where = place_text(entry);
  if (entry.at("level") != 1)
    return {{"holder", where + " names it as a table"}, {"instead", "clear that entry (mmu_update)"}};
  const bool writable = entry.at("writable").get<bool>();
  return {{"holder",
           fmt::format("{} maps it {}{}", where, writable ? "writable" : "read-only", mapped_at(entry))},
          {"instead", writable ? "make it read-only or clear it (update_va_mapping)"
                               : "nothing needed, unless the frame is to be given away: then clear it"}};
}

/// What is mapped by grants. An entry that is cleared otherwise leaves its mapping, so only the handle helps.
void add_mappings(Json& holders, const Json& frame) {
  for (const Json& mapping : list_in(frame, "mappings"))
    holders.push_back({{"holder", mapping_text(mapping)},
                       {"instead", "unmap it by its handle (GNTTABOP_unmap_grant_ref)"}});
}

std::string what_it_is(const Json& frame) {
  if (is_mapped_by_grant(frame))
    return fmt::format("domain {}'s, which granted it: mapped for {}", whole_number(frame.at("owner")),
                       whole_number(frame.at("borrowed").at("writers")) != 0 ? "writing" : "reading");
  if (!frame.at("owned").get<bool>()) return "not the domain's";
  const std::string type = frame.at("type").get<std::string>();
  const auto relied_upon = whole_number(frame.at("type_references"));
  if (relied_upon == 0) return "plain memory of the domain's, relied upon as nothing";
  const std::string times =
      relied_upon == 1 ? "relied upon once" : fmt::format("relied upon {} times", relied_upon);
  if (type == "writable") return "data, mapped writable: " + times;
  if (type == "seg_desc") return "a descriptor page: " + times;
  return fmt::format("a page table of level {}: {}", type.substr(1), times);
}

}  // namespace

std::optional<Rule> find_rule(std::string_view text) {
  const std::string_view name = text.substr(0, text.find(':'));
  for (std::size_t i = 0; i < pvmmu::rules.size(); ++i)
    if (pvmmu::rules[i].name == name) return static_cast<Rule>(i);
  return std::nullopt;
}

Json explain_rule(Rule rule) {
  const pvmmu::RuleReason& reason = pvmmu::reason(rule);
  Json advisories = Json::array();
  for (const std::uint16_t advisory : reason.advisories)
    if (advisory != 0) advisories.push_back(advisory);
  return {{"rule", pvmmu::info(rule).name},    {"error", told(pvmmu::info(rule))},
          {"refuses", pvmmu::info(rule).text}, {"why", reason.why},
          {"instead", reason.instead},         {"advisories", advisories}};
}

Json explain_rules() {
  Json all = Json::array();
  for (const pvmmu::RuleReason& reason : pvmmu::rule_reasons()) all.push_back(explain_rule(reason.rule));
  return all;
}

Json explain_frame(const Json& frame) {
  Json result{{"frame", frame.at("frame")}, {"is", what_it_is(frame)}};
  result["refused"] = Json::array();
  result["holders"] = Json::array();
  if (!frame.at("owned").get<bool>()) {
    result["refused"].push_back(
        refused(is_mapped_by_grant(frame) ? "map it but by a grant" : "map it", {Rule::l1_foreign_frame}));
    result["refused"].push_back(refused("name it as a page table", {Rule::upper_foreign_frame}));
    result["refused"].push_back(refused("pin it, clear it, give it back", {Rule::frame_not_owned}));
    add_mappings(result["holders"], frame);
    return result;
  }
  const bool relied_upon = whole_number(frame.at("type_references")) != 0;
  if (relied_upon) result["refused"] = refusals(frame.at("type").get<std::string>());
  Json& holders = result["holders"];
  if (frame.at("special").get<bool>()) {
    result["refused"].push_back(refused("give it back or make a table of it", {Rule::frame_special}));
    holders.push_back({{"holder", "the monitor, which shares it with the guest"},
                       {"instead", "none: it stays for as long as the domain lives"}});
  }
  if (frame.at("pinned").get<bool>())
    holders.push_back({{"holder", "a pin"}, {"instead", "unpin it (MMUEXT_UNPIN_TABLE)"}});
  for (const Json& user : frame.at("outside"))
    holders.push_back(
        {{"holder", outside_text(user)}, {"instead", way_out(user.at("kind").get<std::string>())}});
  for (const Json& grant : list_in(frame, "granted"))
    holders.push_back({{"holder", grant_text(grant, frame.value("domain", Json()))},
                       {"instead", "none of the owner's: its user has to end the use"}});
  add_mappings(holders, frame);
  for (const Json& entry : frame.at("entries")) holders.push_back(holder_of(entry));
  return result;
}

std::string rule_text(const Json& e) {
  std::string out =
      paragraph("", fmt::format("{} ({}): {}", e.at("rule").get<std::string>(),
                                e.at("error").get<std::string>(), e.at("refuses").get<std::string>()));
  out += paragraph("  why      ", e.at("why").get<std::string>());
  out += paragraph("  instead  ", e.at("instead").get<std::string>());
  std::vector<std::string> advisories;
  for (const Json& number : e.at("advisories"))
    advisories.push_back("XSA-" + std::to_string(number.get<int>()));
  if (!advisories.empty()) out += fmt::format("  see      {}\n", fmt::join(advisories, ", "));
  return out;
}

std::string rules_text(const Json& explained) {
  std::string out;
  for (const Json& rule : explained)
    out +=
        fmt::format("{:<26} {}\n", rule.at("rule").get<std::string>(), rule.at("refuses").get<std::string>());
  return out;
}

std::string frame_explanation_text(const Json& e) {
  std::string out =
      fmt::format("frame {} is {}\n", hex(whole_number(e.at("frame"))), e.at("is").get<std::string>());
  if (!e.at("refused").empty()) out += "refused for now\n";
  for (const Json& refusal : e.at("refused"))
    out += fmt::format("  to {}: {}\n", refusal.at("change").get<std::string>(),
                       fmt::join(refusal.at("rules").get<std::vector<std::string>>(), ", "));
  if (!e.at("holders").empty()) out += "held by, and what would end it\n";
  for (const Json& holder : e.at("holders"))
    out += fmt::format("  {}: {}\n", holder.at("holder").get<std::string>(),
                       holder.at("instead").get<std::string>());
  return out;
}

}  // namespace pinfold::cli
