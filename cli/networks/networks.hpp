// The host's side of a guest's network interfaces, for one life of the guest.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "cli/config/guest_config.hpp"
#include "cli/networks/descriptors.hpp"
#include "cli/networks/helper_watch.hpp"

namespace pinfold::cli {

/// The host's side of one interface. Its end undoes what was done on the host.
class VifHost {
 public:
  VifHost() = default;
  VifHost(const VifHost&) = delete;
  VifHost& operator=(const VifHost&) = delete;
  virtual ~VifHost() = default;
  /// Has its helper ended? How, without the interface's number and the consequence, once.
  [[nodiscard]] virtual std::optional<HelperTrouble> trouble() { return std::nullopt; }
};

/// Made by a supervisor before it starts the monitor, and ended after it: tap devices, sockets, scripts,
/// passt, captures.
///
/// Concurrency: used by one thread, in a process that has no others.
class Networks {
 public:
  /// `domain` tells the guest's tap devices from others'. An error is one line that names the interface and
  /// says what to do.
  [[nodiscard]] static tl::expected<Networks, std::string> open(const GuestConfig& guest,
                                                                std::uint32_t domain);

  /// The same for one interface with one queue, which a guest that runs is to get.
  [[nodiscard]] static tl::expected<Networks, std::string> open_one(const VifConfig& vif,
                                                                    std::uint32_t domain, std::size_t index);

  /// For the monitor. The supervisor then drops its copies, because helpers end when all copies are closed.
  [[nodiscard]] const NetworkDescriptors& descriptors() const { return descriptors_; }
  void drop_descriptors() { descriptors_.clear(); }
  [[nodiscard]] NetworkDescriptors take_descriptors() { return std::exchange(descriptors_, {}); }
  /// About helpers that have ended since the last call.
  [[nodiscard]] std::vector<HelperTrouble> troubles();

 private:
  [[nodiscard]] tl::expected<void, std::string> add(const VifConfig& vif, std::uint32_t domain,
                                                    std::size_t index, std::size_t queues);
  NetworkDescriptors descriptors_;
  std::vector<std::pair<std::size_t, std::unique_ptr<VifHost>>> hosts_;  ///< With their interfaces' numbers.
};

}  // namespace pinfold::cli
