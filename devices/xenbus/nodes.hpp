// Nodes of a device in the store: where they are, and how a backend reads those of its frontend.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "devices/xen_abi.hpp"
#include "devices/xenstore/store.hpp"

namespace pinfold::devices::xenbus {

/// A node below a device's folder.
struct DeviceNode {
  std::string name;
  std::string value;
};
using DeviceNodes = std::vector<DeviceNode>;

/// A device of a domain.
struct DeviceName {
  std::string kind;  ///< "vbd", "vif"
  DomId frontend;
  std::uint32_t number = 0;
  DomId backend = monitor_domain;  ///< Another one: it is a driver domain.

  /// /local/domain/<frontend>/device/<kind>/<number>
  [[nodiscard]] xenstore::Path frontend_folder() const;
  /// /local/domain/<backend>/backend/<kind>/<frontend>/<number>
  [[nodiscard]] xenstore::Path backend_folder() const;
  /// Where Linux's backends, too, say why a device does not work:
  /// /local/domain/<backend>/error/backend/…/error.
  [[nodiscard]] xenstore::Path error_node() const;
};

/// Of a device's folder: the owner's, for the other end to read. So libxl writes them.
[[nodiscard]] xenstore::Permissions owned_and_read(DomId owner, DomId reader);

/// Adds a folder with these nodes, all with the same permissions, to what is to be written.
void add_folder(std::vector<xenstore::NodeWrite>& writes, const xenstore::Path& folder, DeviceNodes nodes,
                const xenstore::Permissions& permissions);

/// A frontend's nodes. Their values are whatever the guest wrote: each is copied once and checked.
class FrontendNodes {
 public:
  FrontendNodes(xenstore::Store& store, xenstore::Path folder) : store_(store), folder_(std::move(folder)) {}

  /// Nothing if there is no such node.
  [[nodiscard]] std::optional<std::string> text(std::string_view name) const;
  /// A decimal number without sign or spaces. Nothing if there is no such node; an error, which names the
  /// node, for anything but a number.
  [[nodiscard]] tl::expected<std::optional<std::uint32_t>, std::string> number(std::string_view name) const;
  /// The same of a node that has to be there.
  [[nodiscard]] tl::expected<std::uint32_t, std::string> required_number(std::string_view name) const;
  [[nodiscard]] FrontendNodes below(std::string_view name) const {
    return FrontendNodes(store_, folder_.child(name));
  }

 private:
  xenstore::Store& store_;
  xenstore::Path folder_;
};

}  // namespace pinfold::devices::xenbus
