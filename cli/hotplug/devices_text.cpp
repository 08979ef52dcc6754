#include "cli/hotplug/devices_text.hpp"

#include <fmt/format.h>

#include "cli/json_number.hpp"

namespace pinfold::cli {
namespace {

/// A text of the guest's, or "-1" where xl, too, has no number to show.
std::string shown(const Json& device, const char* key) {
  std::string text = text_in(device, key);
  return text.empty() ? "-1" : text;
}

}  // namespace

std::string disks_text(const Json& devices) {
  std::string out = fmt::format("{:<5} {:<3} {:<6} {:<5} {:<6} {:<8} {}\n", "Vdev", "BE", "handle", "state",
                                "evt-ch", "ring-ref", "BE-path");
  for (const Json& device : devices)
    out += fmt::format("{:<5} {:<3} {:<6} {:<5} {:<6} {:<8} {}\n", whole_number(device.at("number")),
                       whole_number(device.at("backend_id")), whole_number(device.at("domain")),
                       shown(device, "state"), shown(device, "event_channel"), shown(device, "ring_ref"),
                       text_in(device, "backend"));
  return out;
}

std::string interfaces_text(const Json& devices) {
  std::string out =
      fmt::format("{:<3} {:<2} {:<17} {:<6} {:<5} {:<6} {:>5}/{:<11} {:<29} {}\n", "Idx", "BE", "Mac Addr.",
                  "handle", "state", "evt-ch", "tx-", "rx-ring-ref", "BE-path", "link");
  for (const Json& device : devices) {
    const std::string one_port = text_in(device, "event_channel");
    const std::string port = one_port.empty() ? shown(device, "event_channel_tx") : one_port;
    out += fmt::format("{:<3} {:<2} {:<17} {:<6} {:<5} {:<6} {:>5}/{:<11} {:<29} {}\n",
                       whole_number(device.at("number")), whole_number(device.at("backend_id")),
                       text_in(device, "mac"), whole_number(device.at("number")), shown(device, "state"),
                       port, shown(device, "tx_ring_ref"), shown(device, "rx_ring_ref"),
                       text_in(device, "backend"), text_in(device, "link"));
  }
  return out;
}

}  // namespace pinfold::cli
