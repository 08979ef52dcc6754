#include "trace/summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <vector>

namespace pinfold::trace {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::size_t most_shown = 10;
constexpr double ns_per_ms = 1e6;

/// The largest counts first.
template <class Key>
std::vector<std::pair<Key, std::uint64_t>> top(const std::map<Key, std::uint64_t>& counts) {
  std::vector<std::pair<Key, std::uint64_t>> all(counts.begin(), counts.end());
  std::ranges::stable_sort(all, std::greater{}, [](const auto& pair) { return pair.second; });
  if (all.size() > most_shown) all.resize(most_shown);
  return all;
}

std::string batch_name(std::uint64_t smallest) {
  return smallest == 1 ? "1" : fmt::format("{} to {}", smallest, 2 * smallest - 1);
}

}  // namespace

void Summary::end_batch() {
  if (in_batch_ != 0) ++batches_[std::bit_floor(in_batch_)];
  in_batch_ = 0;
}

void Summary::add(const LogEvent& e) {
  ++events_;
  last_time_ = std::max(last_time_, e.time + e.cost);
  Operations& kind = kinds_[static_cast<std::size_t>(e.kind)];
  ++kind.count;
  kind.ticks += e.cost;
  if (e.kind == pvmmu::TraceKind::entered && !e.marks.continued) end_batch();
  if (e.kind == pvmmu::TraceKind::flushed && e.argument == pvmmu::every_vcpu) ++flushed_all_;
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

std::string Summary::json(const LogHeader& header, const Namer& namer) const {
  Json all{
      {"events", events_}, {"operations", operations_}, {"ms", header.nanoseconds(last_time_) / ns_per_ms}};
  Json kinds = Json::object(), rules = Json::object(), tables = Json::array(), callers = Json::array(),
       batches = Json::object();
  for (std::size_t k = 0; k < kinds_.size(); ++k) {
    const Operations& o = kinds_[k];
    if (o.count == 0) continue;
    Json one{{"count", o.count}};
    if (is_operation(static_cast<pvmmu::TraceKind>(k))) {
      one["refused"] = o.refused;
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
  std::string out = fmt::format("{} events, {} operations, {:.1f} ms; domain {}, {} frames, {} vCPUs\n\n",
                                events_, operations_, header.nanoseconds(last_time_) / ns_per_ms,
                                header.domain.raw(), header.machine_frames, header.vcpus);
  out += fmt::format("{:<20} {:>10} {:>10} {:>10}\n", "", "count", "refused", "mean ns");
  for (const auto& [kind, one] : all["kinds"].items()) {
    out += fmt::format("{:<20} {:>10}", kind, one["count"].get<std::uint64_t>());
    if (one.contains("mean_ns"))
      out +=
          fmt::format(" {:>10} {:>10.0f}", one["refused"].get<std::uint64_t>(), one["mean_ns"].get<double>());
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
  counts("refusals by rule", all["refused_by_rule"]);
  list("tables with the most operations", "table", all["hottest_tables"]);
  list("who asked most", "at", all["callers"]);
  counts("operations at a time", all["operations_at_a_time"]);
  counts("flushes", all["flushes"]);
  return out;
}

}  // namespace pinfold::trace
