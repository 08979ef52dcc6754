#include "cli/toolstack/verbs_text.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cli/json_number.hpp"

namespace pinfold::cli {
namespace {

std::uint64_t count(const Json& object, const char* key) { return whole_number(object.at(key)); }
std::string text(const Json& object, const char* key) { return object.at(key).get<std::string>(); }
/// A guest whose monitor does not answer has a name, an ID and a state only.
bool answers(const Json& guest) { return guest.contains("frames"); }

std::size_t online_vcpus(const Json& guest) {
  const Json& vcpus = guest.at("vcpus");
  return static_cast<std::size_t>(
      std::count_if(vcpus.begin(), vcpus.end(), [](const Json& vcpu) { return vcpu.at("up") == true; }));
}

}  // namespace

std::string guests_text(const Json& guests) {
  if (guests.empty()) return "no guest is running\n";
  constexpr std::uint64_t frames_in_mib = 256;
  std::string out = fmt::format("{:<24} {:>5} {:>8} {:>5} {:<9} {:>9} {:>8}\n", "NAME", "ID", "MEM(MiB)",
                                "VCPUS", "STATE", "TIME(s)", "PID");
  for (const Json& guest : guests)
    if (answers(guest))
      out += fmt::format("{:<24} {:>5} {:>8} {:>5} {:<9} {:>9.1f} {:>8}\n", text(guest, "name"),
                         count(guest, "id"), count(guest, "frames") / frames_in_mib, online_vcpus(guest),
                         text(guest, "state"), guest.at("cpu_seconds").get<double>(), count(guest, "pid"));
    else
      out += fmt::format("{:<24} {:>5} {:>8} {:>5} {:<9}\n", text(guest, "name"), count(guest, "id"), "-",
                         "-", text(guest, "state"));
  return out;
}

std::string duration_text(double seconds) {
  constexpr std::uint64_t minute = 60, hour = 60 * minute, day = 24 * hour;
  constexpr double most = 1e15;  // The monitor's answer, which may be anything.
  const auto whole = static_cast<std::uint64_t>(std::clamp(seconds, 0.0, most));
  const std::string time =
      fmt::format("{}:{:02}:{:02}", whole % day / hour, whole % hour / minute, whole % minute);
  if (whole < day) return time;
  return fmt::format("{} day{}, {}", whole / day, whole / day == 1 ? "" : "s", time);
}

std::string uptime_text(const Json& guests) {
  if (guests.empty()) return "no guest is running\n";
  std::string out = fmt::format("{:<24} {:>5} {}\n", "NAME", "ID", "UPTIME");
  for (const Json& guest : guests)
    out +=
        fmt::format("{:<24} {:>5} {}\n", text(guest, "name"), count(guest, "id"),
                    answers(guest) ? duration_text(guest.at("seconds").get<double>()) : text(guest, "state"));
  return out;
}

}  // namespace pinfold::cli
