// What carries an interface's frames: descriptors, which a supervisor opens and its monitor inherits.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli {

/// Of one interface. Which kind of lanes they are, its VifConfig says.
struct VifDescriptors {
  std::vector<vmm::Fd> lanes;  ///< Queues of a tap device, or one socket.
  vmm::Fd capture;             ///< An empty file; not open: none.
  vmm::Fd tie;                 ///< Closed with the interface. Not open: nobody waits for that.
};
/// Of the interfaces that this host serves.
using NetworkDescriptors = std::vector<VifDescriptors>;

/// The numbers, for a monitor's command line: "7,8/9/;10//11".
[[nodiscard]] std::string text_of(const NetworkDescriptors& networks);
/// All numbers, for an execve(2) that keeps them.
[[nodiscard]] std::vector<int> numbers_of(const NetworkDescriptors& networks);
/// Takes over the descriptors of such a text, and makes them close-on-exec. An error: the text is none.
[[nodiscard]] tl::expected<NetworkDescriptors, std::string> inherit_networks(std::string_view text);

}  // namespace pinfold::cli
