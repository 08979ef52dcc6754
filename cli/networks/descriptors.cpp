#include "cli/networks/descriptors.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cli/descriptor_list.hpp"

namespace pinfold::cli {

std::string text_of(const NetworkDescriptors& networks) {
  std::string text;
  for (const VifDescriptors& vif : networks) {
    const char* separator = text.empty() ? "" : ";";
    for (const vmm::Fd& lane : vif.lanes) {
      text += fmt::format("{}{}", separator, lane.get());
      separator = ",";
    }
    for (const vmm::Fd* fd : {&vif.capture, &vif.tie})
      text += fd->open() ? fmt::format("/{}", fd->get()) : "/";
  }
  return text;
}

std::vector<int> numbers_of(const NetworkDescriptors& networks) {
  std::vector<int> numbers;
  for (const VifDescriptors& vif : networks) {
    for (const vmm::Fd& lane : vif.lanes) numbers.push_back(lane.get());
    for (const vmm::Fd* fd : {&vif.capture, &vif.tie})
      if (fd->open()) numbers.push_back(fd->get());
  }
  return numbers;
}

tl::expected<NetworkDescriptors, std::string> inherit_networks(std::string_view text) {
  NetworkDescriptors networks;
  while (!text.empty()) {
    std::string_view vif = take_until(text, ';');
    std::string_view lanes = take_until(vif, '/');
    const std::string_view capture = take_until(vif, '/');
    VifDescriptors& added = networks.emplace_back();
    while (!lanes.empty()) added.lanes.push_back(inherited_descriptor(take_until(lanes, ',')));
    if (!capture.empty()) added.capture = inherited_descriptor(capture);
    if (!vif.empty()) added.tie = inherited_descriptor(vif);
    const bool all_open =
        std::all_of(added.lanes.begin(), added.lanes.end(), [](const auto& fd) { return fd.open(); });
    if (added.lanes.empty() || !all_open || added.capture.open() == capture.empty() ||
        added.tie.open() == vif.empty())
      return tl::unexpected(std::string("no list of descriptors"));
  }
  return networks;
}

}  // namespace pinfold::cli
