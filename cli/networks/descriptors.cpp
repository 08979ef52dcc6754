#include "cli/networks/descriptors.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace pinfold::cli {
namespace {

std::string_view take(std::string_view& rest, char separator) {
  const auto end = std::min(rest.find(separator), rest.size());
  const auto taken = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return taken;
}

/// Not open if the text names no descriptor.
vmm::Fd inherited(std::string_view text) {
  int fd = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), fd);
  if (error != std::errc() || end != text.data() + text.size() || fd <= 2 ||
      ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
    return {};
  return vmm::Fd(fd);
}

}  // namespace

std::string text_of(const NetworkDescriptors& networks) {
  std::string text;
  for (const VifDescriptors& vif : networks) {
    const char* separator = text.empty() ? "" : ";";
    for (const vmm::Fd& lane : vif.lanes) {
      text += fmt::format("{}{}", separator, lane.get());
      separator = ",";
    }
    text += vif.capture.open() ? fmt::format("/{}", vif.capture.get()) : "/";
  }
  return text;
}

std::vector<int> numbers_of(const NetworkDescriptors& networks) {
  std::vector<int> numbers;
  for (const VifDescriptors& vif : networks) {
    for (const vmm::Fd& lane : vif.lanes) numbers.push_back(lane.get());
    if (vif.capture.open()) numbers.push_back(vif.capture.get());
  }
  return numbers;
}

tl::expected<NetworkDescriptors, std::string> inherit_networks(std::string_view text) {
  NetworkDescriptors networks;
  while (!text.empty()) {
    std::string_view vif = take(text, ';');
    std::string_view lanes = take(vif, '/');
    VifDescriptors& added = networks.emplace_back();
    while (!lanes.empty()) added.lanes.push_back(inherited(take(lanes, ',')));
    if (!vif.empty()) added.capture = inherited(vif);
    const bool all_open =
        std::all_of(added.lanes.begin(), added.lanes.end(), [](const auto& fd) { return fd.open(); });
    if (added.lanes.empty() || !all_open || added.capture.open() == vif.empty())
      return tl::unexpected(std::string("no list of descriptors"));
  }
  return networks;
}

}  // namespace pinfold::cli
