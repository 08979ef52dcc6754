#include "cli/config/xl_guest.hpp"

#include <fmt/format.h>

#include <limits>

#include "cli/config/xl_keys.hpp"
#include "vmm/domain.hpp"

namespace pinfold::cli {
namespace {

constexpr std::int64_t most_mib = most_guest_memory >> 20;
constexpr std::int64_t most_vcpus = vmm::max_vcpus;

void read_type(XlReader& reader) {
  const auto type = reader.text("type"), builder = reader.text("builder");
  if (type == "hvm" || type == "pvh")
    reader.error("type", fmt::format("{}: only PV guests run here", *type));
  else if (type && type != "pv")
    reader.error("type", fmt::format("{}: not pv, pvh or hvm", *type));
  if (builder == "hvm")
    reader.error("builder", "hvm: only PV guests run here");
  else if (builder && builder != "generic" && builder != "linux")
    reader.error("builder", fmt::format("{}: not generic, linux or hvm", *builder));
}

void read_action(XlReader& reader, const char* key, EndAction& to) {
  const auto word = reader.text(key);
  if (!word) return;
  if (const auto action = end_action(*word)) {
    to = *action;
  } else if (*word == "coredump-destroy" || *word == "coredump-restart") {
    to = *word == "coredump-destroy" ? EndAction::destroy : EndAction::restart;
    reader.add(reader.remark(Severity::warning, key,
                             fmt::format("{}: {}, but no core is written", key, name_of(to))));
  } else {
    reader.error(key, fmt::format("{}: not destroy, restart, rename-restart or preserve", *word));
  }
}

/// `cmdline`, else `root` and `extra`. None of them: an empty line, as xl has it.
std::string command_line(XlReader& reader) {
  const auto all = reader.text("cmdline"), root = reader.text("root"), extra = reader.text("extra");
  if (all) {
    for (const char* key : {"root", "extra"})
      if (!reader.is_none(key))
        reader.add(reader.remark(Severity::warning, key,
                                 fmt::format("{} has no effect, because there is cmdline", key)));
    return *all;
  }
  if (!root) return extra.value_or("");
  return fmt::format("root={}{}{}", *root, extra ? " " : "", extra.value_or(""));
}

void read_sizes(XlReader& reader, GuestConfig& guest) {
  const auto memory = reader.number("memory", 1, most_mib), most = reader.number("maxmem", 1, most_mib);
  if (most) guest.max_memory_bytes = static_cast<std::uint64_t>(*most) << 20;
  if (memory)
    guest.memory_bytes = static_cast<std::uint64_t>(*memory) << 20;
  else if (most)
    guest.memory_bytes = guest.max_memory_bytes;
  if (const auto vcpus = reader.number("vcpus", 1, most_vcpus))
    guest.vcpus = static_cast<std::uint32_t>(*vcpus);
  if (const auto vcpus = reader.number("maxvcpus", 1, most_vcpus))
    guest.max_vcpus = static_cast<std::uint32_t>(*vcpus);
  if (const auto frames = reader.number("max_grant_frames", 1, most_grant_frames))
    guest.max_grant_frames = static_cast<std::uint32_t>(*frames);
  if (const auto frames = reader.number("max_maptrack_frames", 0, most_maptrack_frames))
    guest.max_maptrack_frames = static_cast<std::uint32_t>(*frames);
}

CpuLists cpus(XlReader& reader) {
  CpuLists lists;
  if (reader.is_list("cpus"))
    lists.of_each = reader.words("cpus");
  else if (auto of_all = reader.text("cpus"); of_all && !of_all->empty())  // "" in xm's examples: any
    lists.of_all = std::move(of_all);
  return lists;
}

void judge_unknown(XlReader& reader, const XlKey& key, bool strict) {
  const std::string_view similar = similar_xl_key(key.name);
  reader.add(reader.remark(strict ? Severity::error : Severity::warning, key.name,
                           fmt::format("{} is not a key of xl.cfg{}{}", key.name,
                                       similar.empty() ? "" : fmt::format(" (is it {}?)", similar),
                                       strict ? "" : "; it is ignored")));
}

/// One notice for all keys that can't mean anything for a PV guest: in real files they are many.
void judge_foreign(XlReader& reader, const std::vector<const XlKey*>& keys) {
  if (keys.empty()) return;
  std::string list;
  for (const XlKey* key : keys)
    list += fmt::format("{}{} (line {})", list.empty() ? "" : ", ", key->name, key->line);
  reader.add(reader.remark(Severity::notice, "", "ignored, not for PV guests on x86: " + list));
}

}  // namespace

GuestConfig guest_of(XlReader& reader) {
  GuestConfig guest;
  read_type(reader);
  guest.name = reader.text("name").value_or("");
  guest.uuid = reader.text("uuid");
  guest.kernel = reader.text("kernel").value_or("");
  guest.initrd = reader.text("ramdisk").value_or("");
  guest.command_line = command_line(reader);
  guest.bootloader = reader.text("bootloader").value_or("");
  guest.bootloader_args = reader.words("bootloader_args");
  guest.allowed_images = reader.words("allow_images");
  read_sizes(reader, guest);
  guest.cpus = cpus(reader);
  read_action(reader, "on_poweroff", guest.on_poweroff);
  read_action(reader, "on_reboot", guest.on_reboot);
  read_action(reader, "on_crash", guest.on_crash);
  read_action(reader, "on_watchdog", guest.on_watchdog);
  guest.localtime = reader.flag("localtime").value_or(false);
  guest.driver_domain = reader.flag("driver_domain").value_or(false);
  constexpr std::int64_t most_offset = std::numeric_limits<std::int32_t>::max();
  guest.rtc_offset_seconds = reader.number("rtc_timeoffset", -most_offset, most_offset).value_or(0);
  return guest;
}

void judge_keys(XlReader& reader, bool strict) {
  std::vector<const XlKey*> foreign;
  for (const XlKey& key : reader.keys()) {
    for (const unsigned line : key.replaced)
      reader.add(reader.remark(Severity::notice, key.name,
                               fmt::format("{} is set again; line {} has no effect", key.name, line)));
    const XlKeyRule* rule = find_xl_key(key.name);
    if (rule == nullptr)
      judge_unknown(reader, key, strict);
    else if (reader.is_none(key.name))
      continue;
    else if (rule->use == KeyUse::foreign)
      foreign.push_back(&key);
    else if (rule->use == KeyUse::refused)
      reader.error(key.name, std::string(rule->note));
    else if (rule->use == KeyUse::ignored)
      reader.add(
          reader.remark(Severity::notice, key.name, fmt::format("{} is ignored: {}", key.name, rule->note)));
  }
  judge_foreign(reader, foreign);
}

}  // namespace pinfold::cli
