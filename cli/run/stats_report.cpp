#include "cli/run/stats_report.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/control/counters.hpp"

namespace pinfold::cli {
namespace {

using Json = nlohmann::ordered_json;

using Devices = std::vector<devices::xenbus::DeviceCounts>;

Json collect(vmm::Domain& domain, const Milestones& times, const Devices& devices) {
  Json all;
  all["milestones_ms"] = {{"image_loaded", times.image_loaded},
                          {"first_instruction", times.first_instruction},
                          {"first_console_byte", times.first_console_byte},
                          {"end", times.end}};
  {
    const pvmmu::DomainLock lock(domain.mutex());
    all.update(counters_of(lock, domain));
  }
  all["devices"] = Json::object();
  for (const auto& device : devices) {
    Json counts;
    for (const auto& [name, count] : device.counts) counts[name] = count;
    all["devices"][device.device] = counts;
  }
  return all;
}

void print(std::string& out, const Json& value, const std::string& label, int depth) {
  const std::string indent(static_cast<std::size_t>(depth) * 2, ' ');
  if (value.is_object()) {
    out += fmt::format("{}{}\n", indent, label);
    for (const auto& [key, inner] : value.items()) print(out, inner, key, depth + 1);
  } else if (value.is_number_float()) {
    out += fmt::format("{:<40} {:>14.1f}\n", indent + label, value.get<double>());
  } else if (value.get<std::uint64_t>() != 0 || depth < 2) {
    out += fmt::format("{:<40} {:>14}\n", indent + label, value.get<std::uint64_t>());
  }
}

}  // namespace

std::string stats_json(vmm::Domain& domain, const Milestones& times, const Devices& devices) {
  return collect(domain, times, devices).dump() + "\n";
}

std::string stats_table(vmm::Domain& domain, const Milestones& times, const Devices& devices) {
  std::string out;
  const Json all = collect(domain, times, devices);
  for (const auto& [key, value] : all.items()) print(out, value, key, 0);
  return out;
}

}  // namespace pinfold::cli
