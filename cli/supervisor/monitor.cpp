#include "cli/supervisor/monitor.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cstdio>
#include <new>
#include <optional>
#include <string_view>
#include <utility>

#include "cli/run/run.hpp"
#include "cli/supervisor/handover.hpp"
#include "cli/supervisor/life_end.hpp"

namespace pinfold::cli {
namespace {

/// Programs that the monitor executes before the guest runs get no copy.
vmm::Fd inherited(int fd) {
  if (fd < 0 || ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return {};
  return vmm::Fd(fd);
}

/// The first guest's part of a text, which the text loses.
std::string_view take_first(std::string_view& texts) {
  const auto end = std::min(texts.find('+'), texts.size());
  const auto first = texts.substr(0, end);
  texts.remove_prefix(std::min(end + 1, texts.size()));
  return first;
}

/// The options of each guest, and its descriptors in `links`; nullopt: these are not what a supervisor hands
/// over.
std::optional<MachineOptions> inherit_guests(const MonitorDescriptors& descriptors, MachineLinks& links) {
  MachineOptions all;
  std::string_view networks = descriptors.networks, disks = descriptors.disks;
  for (std::size_t n = 0; n < descriptors.options.size(); ++n) {
    const vmm::Fd file = inherited(descriptors.options[n]);
    auto options = decode_options(bytes_of(file));
    auto its_networks = inherit_networks(take_first(networks));
    auto its_disks = inherit_disk_sockets(take_first(disks));
    if (!options || !its_networks || !its_disks) return std::nullopt;
    LifeLinks& of = links.guests.emplace_back();
    for (std::size_t i = 0; i < socket_count && n * socket_count + i < descriptors.sockets.size(); ++i)
      of.sockets[i] = inherited(descriptors.sockets[n * socket_count + i]);
    if (n < descriptors.debuggers.size()) of.debugger = inherited(descriptors.debuggers[n]);
    of.networks = std::move(*its_networks);
    of.disks = std::move(*its_disks);
    all.push_back(std::move(*options));
  }
  if (all.empty()) return std::nullopt;
  return all;
}

}  // namespace

std::vector<std::string> monitor_words(const std::string& name, const MonitorDescriptors& descriptors) {
  std::vector<std::string> words = {"pinfold",
                                    "monitor",
                                    "--name=" + name,
                                    fmt::format("--options={}", fmt::join(descriptors.options, ",")),
                                    fmt::format("--link={}", descriptors.link),
                                    fmt::format("--sockets={}", fmt::join(descriptors.sockets, ",")),
                                    fmt::format("--debuggers={}", fmt::join(descriptors.debuggers, ","))};
  for (const auto& [option, text] :
       {std::pair("--networks=", &descriptors.networks), std::pair("--disks=", &descriptors.disks)})
    if (text->find_first_not_of('+') != std::string::npos) words.push_back(option + *text);
  return words;
}

int monitor(const MonitorDescriptors& descriptors) {
  ::prctl(PR_SET_NAME, "pinfold");  // it was executed as /proc/self/exe, and is called "exe"
  MachineLinks links;
  links.supervisor = inherited(descriptors.link);
  const auto guests = inherit_guests(descriptors, links);
  if (!guests || !links.supervisor.open()) {
    fmt::print(stderr, "pinfold: monitor: only `run` and `create` start it\n");
    return exit_usage;
  }
  try {
    const LifeEnd end = live(*guests, std::move(links));
    return end.guest ? status_of(*end.guest) : end.code;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "pinfold: the host has not enough memory\n");
    return exit_bad_image;
  }
}

}  // namespace pinfold::cli
