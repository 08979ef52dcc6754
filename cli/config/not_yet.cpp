#include "cli/config/not_yet.hpp"

#include <fmt/format.h>

namespace pinfold::cli {
namespace {

void judge_disk(const DiskConfig& disk, std::size_t index, std::vector<NotYet>& reasons) {
  const auto add = [&](std::string message) { reasons.push_back({"disk", index, std::move(message)}); };
  // Of a driver domain's disk, the driver domain runs it.
  if (!disk.script.empty() && disk.backend.empty())
    add("block scripts are not run yet: give the block device that they make");
}

}  // namespace

std::vector<NotYet> not_yet(const GuestConfig& guest) {
  std::vector<NotYet> reasons;
  for (std::size_t i = 0; i < guest.disks.size(); ++i) judge_disk(guest.disks[i], i, reasons);
  return reasons;
}

}  // namespace pinfold::cli
