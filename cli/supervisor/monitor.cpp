#include "cli/supervisor/monitor.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cstdio>
#include <new>

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

}  // namespace

std::vector<std::string> monitor_words(const std::string& name, const MonitorDescriptors& descriptors) {
  std::vector<std::string> words = {"pinfold",
                                    "monitor",
                                    "--name=" + name,
                                    fmt::format("--options={}", descriptors.options),
                                    fmt::format("--link={}", descriptors.link),
                                    fmt::format("--sockets={}", fmt::join(descriptors.sockets, ",")),
                                    fmt::format("--debugger={}", descriptors.debugger)};
  if (!descriptors.networks.empty()) words.push_back("--networks=" + descriptors.networks);
  if (!descriptors.disks.empty()) words.push_back("--disks=" + descriptors.disks);
  return words;
}

int monitor(const MonitorDescriptors& descriptors) {
  ::prctl(PR_SET_NAME, "pinfold");  // it was executed as /proc/self/exe, and is called "exe"
  vmm::Fd file = inherited(descriptors.options);
  LifeLinks links;
  links.supervisor = inherited(descriptors.link);
  links.debugger = inherited(descriptors.debugger);
  for (std::size_t i = 0; i < std::min(links.sockets.size(), descriptors.sockets.size()); ++i)
    links.sockets[i] = inherited(descriptors.sockets[i]);
  auto options = decode_options(bytes_of(file));
  auto networks = inherit_networks(descriptors.networks);
  auto disks = inherit_disk_sockets(descriptors.disks);
  if (!options || !networks || !disks || !links.supervisor.open()) {
    fmt::print(stderr, "pinfold: monitor: only `run` and `create` start it\n");
    return exit_usage;
  }
  links.networks = std::move(*networks);
  links.disks = std::move(*disks);
  file = vmm::Fd();
  try {
    const LifeEnd end = live(*options, std::move(links));
    return end.guest ? status_of(*end.guest) : end.code;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "pinfold: the host has not enough memory\n");
    return exit_bad_image;
  }
}

}  // namespace pinfold::cli
