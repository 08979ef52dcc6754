#include "report/page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "pvmmu/rule_reasons.hpp"
#include "report/causes.hpp"
#include "report/packed.hpp"
#include "report/page_parts.hpp"

namespace pinfold::report {
namespace {

using Json = nlohmann::ordered_json;

std::string hex(std::uint64_t value) { return fmt::format("{:#x}", value); }

/// JSON that can stand within a script element: nothing in it ends that.
std::string in_script(const Json& json) {
  std::string text;
  for (const char c : json.dump(-1, ' ', true, Json::error_handler_t::replace))
    if (c == '<')
      text += "\\u003c";
    else
      text += c;
  return text;
}

std::string data_element(std::string_view id, std::string_view type, std::string_view content) {
  return fmt::format("<script id=\"{}\" type=\"{}\">{}</script>\n", id, type, content);
}

/// The frame that a refusal is about: that in the way, or else that of the operation.
Mfn frame_of(const trace::LogEvent& event) {
  return event.refusal->frame != no_mfn ? event.refusal->frame : event.frame;
}

/// Reports of one domain say nothing of others.
bool is_of_several(const Model& model) { return model.domains.size() > 1 || model.domains_left_out != 0; }

/// Mappings by grants that the page does not have one by one.
std::uint64_t loans_missing(const Model& model) {
  std::uint64_t maps = model.loans.left_out;
  for (const LoanPair& pair : model.loans.pairs) maps += pair.maps;
  return maps - model.loans.loans.size();
}

Json rules_json(const Model& model, const PageOptions& options) {
  Json rules = Json::array();
  for (std::size_t i = 0; i < pvmmu::rules.size(); ++i) {
    const auto rule = static_cast<pvmmu::Rule>(i);
    const auto found = model.by_rule.find(rule);
    const RuleWords words = options.words ? options.words(rule) : RuleWords{};
    Json json{{"name", info(rule).name}, {"text", info(rule).text}, {"error", told(info(rule))}};
    json["count"] = found == model.by_rule.end() ? 0 : found->second;
    if (!words.why.empty()) json["why"] = words.why;
    if (!words.instead.empty()) json["instead"] = words.instead;
    rules.push_back(std::move(json));
  }
  return rules;
}

/// Notes for the reader about what the page leaves out.
Json notes_json(const Model& model) {
  Json notes = Json::array();
  if (model.events == 0) notes.push_back("The log holds no events.");
  if (!model.trouble.empty())
    notes.push_back(fmt::format("The log could not be read to its end: {}. The picture shows what precedes.",
                                model.trouble));
  else if (!model.closed && model.events != 0)
    notes.push_back(fmt::format("The log ends before {}: its writer was stopped, or goes on.",
                                is_of_several(model) ? "its domains do" : "the domain does"));
  if (model.shown < model.events)
    notes.push_back(fmt::format("Only the first {} events are shown.", model.shown));
  if (model.resolution > 1)
    notes.push_back(
        fmt::format("There were too many changes to show all: of what a frame was within {} events, the "
                    "last is shown.",
                    model.resolution));
  if (model.links_left_out != 0)
    notes.push_back(
        fmt::format("{} entries that name tables are left out of the trees.", model.links_left_out));
  if (model.domains_left_out != 0)
    notes.push_back(
        fmt::format("{} more domains begin later; they are not told apart.", model.domains_left_out));
  if (const std::uint64_t missing = loans_missing(model); missing != 0)
    notes.push_back(fmt::format(
        "{} mappings by grants, or refusals of them, are counted but not listed: there were too many.",
        missing));
  if (model.unfollowed != 0)
    notes.push_back(
        fmt::format("{} changes were too many to be followed; the picture lacks them.", model.unfollowed));
  return notes;
}

/// The part of the machine that the log is about: the domain's frames, and those that it wanted and did not
/// get.
std::pair<std::uint64_t, std::uint64_t> frames_shown(const Model& model) {
  std::uint64_t first = ~0ULL, end = 0;
  const auto show = [&](std::uint64_t from, std::uint64_t to) {
    first = std::min(first, from);
    end = std::max(end, to);
  };
  if (!model.runs.empty()) show(model.runs.front().first, model.runs.back().first + model.runs.back().count);
  for (const trace::LogEvent& event : model.refusals)
    if (const std::uint64_t frame = frame_of(event).raw(); frame < model.header.machine_frames)
      show(frame, frame + 1);
  return end == 0 ? std::pair(std::uint64_t{0}, model.header.machine_frames) : std::pair(first, end);
}

/// Domains, and what they map of each other; of a log of one domain nothing.
void add_domains(Json& facts, const Model& model) {
  if (!is_of_several(model)) return;
  Json domains = Json::array(), pairs = Json::array();
  for (const DomainLife& domain : model.domains)
    domains.push_back({{"id", domain.id.raw()},
                       {"number", domain.number},
                       {"vcpus", domain.vcpus},
                       {"from", domain.from},
                       {"to", domain.to ? Json(*domain.to) : Json()}});
  for (const LoanPair& pair : model.loans.pairs)
    pairs.push_back({{"mapper", pair.mapper.raw()},
                     {"lender", pair.lender == no_domain ? Json() : Json(pair.lender.raw())},
                     {"maps", pair.maps},
                     {"ended", pair.ended},
                     {"refused", pair.refused},
                     {"bucket", pair.bucket},
                     {"maps_in", pair.maps_in}});
  facts["domains"] = std::move(domains);
  facts["pairs"] = std::move(pairs);
}

Json facts_json(const Model& model, const PageOptions& options) {
  const auto [first, end] = frames_shown(model);
  Json facts{{"file", options.file},
             {"domain", model.header.domain.raw()},
             {"vcpus", model.header.vcpus},
             {"frames", model.header.machine_frames},
             {"first_frame", first},
             {"end_frame", end},
             {"events", model.events},
             {"shown", model.shown},
             {"closed", model.closed},
             {"duration_ns", model.header.nanoseconds(model.end_time)},
             {"started_ns", model.header.started_ns},
             {"ticks_per_second", model.header.ticks_per_second},
             {"of_a_rule", model.listed_of_a_rule},
             {"bucket", model.bucket},
             {"refused", model.refusals_in},
             {"rules", rules_json(model, options)},
             {"notes", notes_json(model)}};
  add_domains(facts, model);
  return facts;
}

std::string state_text(const pvmmu::Refusal& refusal) {
  const pvmmu::Frame& f = refusal.state;
  if (f.owner() == no_domain) return "nobody's";
  if (f.refs == 0) return fmt::format("domain {}'s", f.owner().raw());
  return fmt::format("domain {}'s, type {} relied upon {} times, {} references{}", f.owner().raw(),
                     name(f.type), f.type_count, f.refs, f.pinned ? ", pinned" : "");
}

Json refusal_json(const Model& model, const trace::LogEvent& event, const PageOptions& options) {
  const auto frame = [&](Mfn mfn) {
    return mfn.raw() < model.header.machine_frames ? Json(mfn.raw()) : Json();
  };
  const pvmmu::Refusal& refusal = *event.refusal;
  Json json{{"event", event.number},
            {"ns", model.header.nanoseconds(event.time)},
            {"rule", static_cast<unsigned>(refusal.rule)},
            {"op", name(event.kind)},
            {"level", event.level},
            {"table", frame(event.table)},
            {"slot", event.slot},
            {"old", hex(event.old.raw())},
            {"now", hex(event.now.raw())}};
  json["frame"] = frame(frame_of(event));
  if (is_of_several(model)) json["domain"] = event.domain.raw();
  if (refusal.frame != no_mfn) json["state"] = state_text(refusal);
  json["vcpu"] = event.by_vcpu ? Json(event.vcpu.raw()) : Json();
  if (event.by_vcpu) {
    json["cause"] = cause_label(event.cause);
    json["ip"] = options.namer ? options.namer(event.ip.raw()) : hex(event.ip.raw());
  }
  return json;
}

/// The template with each @name@ replaced by what it stands for.
std::string filled(std::string_view text,
                   const std::vector<std::pair<std::string_view, std::string>>& parts) {
  std::string all;
  while (true) {
    std::size_t at = std::string_view::npos;
    const std::pair<std::string_view, std::string>* next = nullptr;
    for (const auto& part : parts)
      if (const std::size_t found = text.find(part.first); found < at) at = found, next = &part;
    all += text.substr(0, at);
    if (next == nullptr) return all;
    all += next->second;
    text.remove_prefix(at + next->first.size());
  }
}

}  // namespace

std::string make_page(const Model& model, const PageOptions& options) {
  constexpr std::string_view json_type = "application/json", packed_type = "application/x-varints";
  Json refusals = Json::array();
  for (const trace::LogEvent& event : model.refusals) refusals.push_back(refusal_json(model, event, options));
  std::string data = data_element("facts", json_type, in_script(facts_json(model, options)));
  data += data_element("refusals-data", json_type, in_script(refusals));
  data += data_element("runs", packed_type, base64(pack(model.runs)));
  data += data_element("links", packed_type, base64(pack(model.links)));
  if (is_of_several(model)) data += data_element("loans", packed_type, base64(pack(model.loans.loans)));
  data += data_element("times", packed_type, base64(pack(model.times)));
  return filled(page_parts::html(),
                {{"@style@", page_parts::style()},
                 {"@data@", std::move(data)},
                 {"@script@", "'use strict';\n(() => {\n" + page_parts::script() + "})();"}});
}

}  // namespace pinfold::report
