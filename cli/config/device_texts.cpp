#include "cli/config/device_texts.hpp"

#include <utility>

#include "cli/config/device_specs.hpp"
#include "cli/config/guest_config.hpp"
#include "cli/config/not_yet.hpp"
#include "cli/config/xl_child.hpp"

namespace pinfold::cli {
namespace {

struct ReadGuest {
  GuestConfig guest;
  Remarks remarks;
};

Remark error_about(std::string message) { return {Severity::error, "", 0, std::move(message)}; }

tl::expected<ReadGuest, Remarks> read(const DeviceSpecs& specs) {
  XlRequest request;
  request.specs = [&specs](const XlValues&) { return specs.for_library(); };
  const auto answer = ask_xl_child(request);
  if (!answer) return tl::unexpected(Remarks{error_about(answer.error())});
  ReadGuest read;
  std::vector<DevicePlace> places;
  if (!add_devices(specs, *answer, read.guest, places, read.remarks))
    return tl::unexpected(Remarks{error_about("libxlutil answered to another question")});
  if (const auto error = error_in(read.guest)) read.remarks.push_back(error_about(error->message));
  for (const auto& reason : not_yet(read.guest)) read.remarks.push_back(error_about(reason.message));
  if (has_errors(read.remarks)) return tl::unexpected(std::move(read.remarks));
  return read;
}

}  // namespace

tl::expected<ReadDevice<DiskConfig>, Remarks> read_disk(const std::string& text) {
  DeviceSpecs specs;
  specs.add_disk({}, text);
  auto made = read(specs);
  if (!made) return tl::unexpected(std::move(made.error()));
  return ReadDevice<DiskConfig>{std::move(made->guest.disks.front()), std::move(made->remarks)};
}

tl::expected<ReadDevice<VifConfig>, Remarks> read_vif(const std::string& text) {
  DeviceSpecs specs;
  specs.add_vif({}, text);
  auto made = read(specs);
  if (!made) return tl::unexpected(std::move(made.error()));
  return ReadDevice<VifConfig>{std::move(made->guest.vifs.front()), std::move(made->remarks)};
}

}  // namespace pinfold::cli
