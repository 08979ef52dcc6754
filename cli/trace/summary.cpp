#include "trace/summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

namespace pinfold::trace {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::size_t most_shown = 10, most_domains_shown = 64;
constexpr double ns_per_ms = 1e6;

/// The largest counts first.
template <class Key>
std::vector<std::pair<Key, std::uint64_t>> top(const std::map<Key, std::uint64_t>& counts) {
  std::vector<std::pair<Key, std::uint64_t>> all(counts.begin(), counts.end());
  std::ranges::stable_sort(all, std::greater{}, [](const auto& pair) { return pair.second; });
  if (all.size() > most_shown) all.resize(most_shown);
  return all;
}

/// Rows of a table: a name, then counts; the first so many.
std::string rows_text(const Json& rows, const std::function<std::string(const Json&)>& name,
                      std::initializer_list<const char*> columns) {
  std::string out;
  for (const char* column : columns) out += fmt::format(" {:>10}", column);
  out += '\n';
  for (std::size_t i = 0; i < std::min(rows.size(), most_domains_shown); ++i) {
    out += fmt::format("  {:<28}", name(rows[i]));
    for (const char* column : columns) out += fmt::format(" {:>10}", rows[i][column].get<std::uint64_t>());
    out += '\n';
  }
  if (rows.size() > most_domains_shown)
    out += fmt::format("  and {} more\n", rows.size() - most_domains_shown);
  return out;
}

std::string domains_text(const Json& all) {
  const auto named = [](const Json& id) {
    return id.is_null() ? std::string("another") : fmt::format("{}", id.get<std::uint64_t>());
  };
  std::string out = fmt::format("\n{:<30}", "domains") +
                    rows_text(all["domains"], [&](const Json& d) { return "domain " + named(d["domain"]); },
                              {"events", "operations", "accepted", "refused"});
  if (all["grants"].empty()) return out;
  return out + fmt::format("\n{:<30}", "grants, mapper and owner") +
         rows_text(all["grants"],
                   [&](const Json& g) {
                     return fmt::format("domain {} of domain {}", named(g["mapper"]), named(g["owner"]));
                   },
                   {"mapped", "unmapped", "copied", "refused"});
}

std::string batch_name(std::uint64_t smallest) {
  return smallest == 1 ? "1" : fmt::format("{} to {}", smallest, 2 * smallest - 1);
}

}  // namespace

void Summary::end_batch() {
  if (in_batch_ != 0) ++batches_[std::bit_floor(in_batch_)];
  in_batch_ = 0;
}

void Summary::add_of_domain(const LogEvent& e, bool refused) {
  of_several_ = of_several_ || e.of_several;
  Domain& domain = domains_[e.domain];
  ++domain.events;
  // A frame that is named by its number is nobody's grant.
  if (is_of_grant(e.kind) || (e.kind == pvmmu::TraceKind::use_grant && e.grant)) add_grant(e);
  if (!is_operation(e.kind)) return;
  ++domain.operations;
  if (refused) ++domain.refused;
  if (e.refusal && !refused) ++domain.unfinished;
}

void Summary::add_grant(const LogEvent& e) {
  const auto pair = std::pair(e.domain, e.grant ? e.grant->lender : no_domain);
  const bool kept = grants_.contains(pair) || grants_.size() < most_pairs;
  Grants& grants = kept ? grants_[pair] : other_grants_;
  const auto purpose = static_cast<pvmmu::GrantPurpose>(e.count);
  if (e.refusal)
    ++grants.refused;
  else if (e.kind == pvmmu::TraceKind::map_granted)
    ++grants.mapped;
  else if (e.kind != pvmmu::TraceKind::use_grant)
    ++grants.unmapped;
  else if (purpose == pvmmu::GrantPurpose::copy_from || purpose == pvmmu::GrantPurpose::copy_to)
    ++grants.copied;
}

void Summary::add(const LogEvent& e) {
  ++events_;
  add_of_domain(e, e.refusal && e.refusal->rule != pvmmu::Rule::unfinished);
  last_time_ = std::max(last_time_, e.time + e.cost);
  Operations& kind = kinds_[static_cast<std::size_t>(e.kind)];
  ++kind.count;
  kind.ticks += e.cost;
  if (e.kind == pvmmu::TraceKind::entered && !e.marks.continued) end_batch();
  if (e.kind == pvmmu::TraceKind::flushed && e.argument == pvmmu::every_vcpu) ++flushed_all_;
  if (e.kind == pvmmu::TraceKind::use_grant && e.refusal) ++kind.refused, ++rules_[e.refusal->rule];
  if (!is_operation(e.kind)) return;
  ++operations_;
  if (e.by_vcpu) ++in_batch_, ++callers_[e.ip.raw()];
  if (e.table != no_mfn && e.level != 0) ++tables_[e.table];
  if (e.marks.flush) ++flush_duties_;
  if (!e.refusal) return;
  if (e.refusal->rule == pvmmu::Rule::unfinished) {
    ++kind.unfinished;
  } else {
    ++kind.refused;
    ++rules_[e.refusal->rule];
  }
}

/// What each domain did, and what it mapped of others.
void Summary::add_domains(nlohmann::ordered_json& all) const {
  Json domains = Json::array(), grants = Json::array();
  for (const auto& [id, d] : domains_)
    domains.push_back({{"domain", id.raw()},
                       {"events", d.events},
                       {"operations", d.operations},
                       {"accepted", d.operations - d.refused - d.unfinished},
                       {"refused", d.refused},
                       {"unfinished", d.unfinished}});
  const auto add = [&grants](Json mapper, Json owner, const Grants& g) {
    grants.push_back({{"mapper", std::move(mapper)},
                      {"owner", std::move(owner)},
                      {"mapped", g.mapped},
                      {"unmapped", g.unmapped},
                      {"copied", g.copied},
                      {"refused", g.refused}});
  };
  for (const auto& [pair, g] : grants_)
    add(pair.first.raw(), pair.second == no_domain ? Json() : Json(pair.second.raw()), g);
  if (const Grants& g = other_grants_; g.mapped + g.unmapped + g.copied + g.refused != 0)
    add(Json(), Json(), g);
  all["domains"] = std::move(domains);
  all["grants"] = std::move(grants);
}

std::string Summary::json(const LogHeader& header, const Namer& namer) const {
  Json all{
      {"events", events_}, {"operations", operations_}, {"ms", header.nanoseconds(last_time_) / ns_per_ms}};
  Json kinds = Json::object(), rules = Json::object(), tables = Json::array(), callers = Json::array(),
       batches = Json::object();
  for (std::size_t k = 0; k < kinds_.size(); ++k) {
    const Operations& o = kinds_[k];
    if (o.count == 0) continue;
    Json one{{"count", o.count}};
    if (is_judged(static_cast<pvmmu::TraceKind>(k))) one["refused"] = o.refused;
    if (is_operation(static_cast<pvmmu::TraceKind>(k))) {
      one["unfinished"] = o.unfinished;
      one["mean_ns"] = header.nanoseconds(o.ticks) / static_cast<double>(o.count);
    }
    kinds[std::string(name(static_cast<pvmmu::TraceKind>(k)))] = std::move(one);
  }
  for (const auto& [rule, count] : rules_) rules[std::string(info(rule).name)] = count;
  for (const auto& [table, count] : top(tables_))
    tables.push_back({{"table", fmt::format("{:#x}", table.raw())}, {"operations", count}});
  for (const auto& [ip, count] : top(callers_))
    callers.push_back({{"at", namer ? namer(ip) : fmt::format("{:#x}", ip)}, {"operations", count}});
  std::map<std::uint64_t, std::uint64_t> sizes = batches_;
  if (in_batch_ != 0) ++sizes[std::bit_floor(in_batch_)];
  for (const auto& [size, count] : sizes) batches[batch_name(size)] = count;
  if (of_several_) add_domains(all);
  all["kinds"] = std::move(kinds);
  all["refused_by_rule"] = std::move(rules);
  all["hottest_tables"] = std::move(tables);
  all["callers"] = std::move(callers);
  all["operations_at_a_time"] = std::move(batches);
  all["flushes"] = {{"asked_for_by_operations", flush_duties_},
                    {"of_every_vcpu", flushed_all_},
                    {"all", kinds_[static_cast<std::size_t>(pvmmu::TraceKind::flushed)].count}};
  return all.dump() + "\n";
}

std::string Summary::text(const LogHeader& header, const Namer& namer) const {
  const Json all = Json::parse(json(header, namer));
  std::string out = fmt::format("{} events, {} operations, {:.1f} ms; ", events_, operations_,
                                header.nanoseconds(last_time_) / ns_per_ms);
  if (of_several_)
    out += fmt::format("{} domains\n\n", domains_.size());
  else
    out += fmt::format("domain {}, {} frames, {} vCPUs\n\n", header.domain.raw(), header.machine_frames,
                       header.vcpus);
  out += fmt::format("{:<20} {:>10} {:>10} {:>10}\n", "", "count", "refused", "mean ns");
  for (const auto& [kind, one] : all["kinds"].items()) {
    out += fmt::format("{:<20} {:>10}", kind, one["count"].get<std::uint64_t>());
    if (one.contains("refused")) out += fmt::format(" {:>10}", one["refused"].get<std::uint64_t>());
    if (one.contains("mean_ns")) out += fmt::format(" {:>10.0f}", one["mean_ns"].get<double>());
    out += '\n';
  }
  const auto counts = [&out](const char* title, const Json& object) {
    if (object.empty()) return;
    out += fmt::format("\n{}\n", title);
    for (const auto& [key, count] : object.items())
      out += fmt::format("  {:<40} {:>10}\n", key, count.get<std::uint64_t>());
  };
  const auto list = [&out](const char* title, const char* key, const Json& array) {
    if (array.empty()) return;
    out += fmt::format("\n{}\n", title);
    for (const Json& one : array)
      out += fmt::format("  {:<40} {:>10}\n", one[key].get<std::string>(),
                         one["operations"].get<std::uint64_t>());
  };
  if (of_several_) out += domains_text(all);
  counts("refusals by rule", all["refused_by_rule"]);
  list("tables with the most operations", "table", all["hottest_tables"]);
  list("who asked most", "at", all["callers"]);
  counts("operations at a time", all["operations_at_a_time"]);
  counts("flushes", all["flushes"]);
  return out;
}

}  // namespace pinfold::trace
