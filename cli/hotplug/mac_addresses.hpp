// The MAC addresses of all network interfaces in a machine: no two guests have the same one.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "pvmmu/types.hpp"

namespace pinfold::cli {

/// The guests of a machine, each of which can be asked whether it has an address. What guests wrote into the
/// store has no say in it.
///
/// Concurrency: any thread. While a guest takes an address, no other one takes any.
class MacAddresses {
 public:
  using Done = tl::expected<void, std::string>;
  /// The number of the guest's interface that has the address; nullopt: none has it.
  using Has = std::function<std::optional<std::uint32_t>(const std::string& mac)>;

  /// A guest with these addresses is there, until leave(). `has` is called until then, and calls nothing of
  /// this. An error is one line: another guest has one of the addresses.
  [[nodiscard]] Done enter(DomId guest, std::string name, const std::vector<std::string>& macs, Has has) {
    const std::lock_guard lock(mutex_);
    for (const std::string& mac : macs)
      if (auto taken = objection(guest, mac)) return tl::unexpected(std::move(*taken));
    guests_.insert_or_assign(guest, Guest{std::move(name), std::move(has)});
    return {};
  }
  void leave(DomId guest) {
    const std::lock_guard lock(mutex_);
    guests_.erase(guest);
  }
  /// Calls `add`, which adds an interface with the address to the guest, unless it or another one has the
  /// address. An error is one line.
  [[nodiscard]] Done take(DomId guest, const std::string& mac, const std::function<Done()>& add) {
    const std::lock_guard lock(mutex_);
    if (auto taken = objection(guest, mac)) return tl::unexpected(std::move(*taken));
    return add();
  }

 private:
  struct Guest {
    std::string name;
    Has has;
  };

  [[nodiscard]] std::optional<std::string> objection(DomId guest, const std::string& mac) const {
    for (const auto& [id, other] : guests_)
      if (const auto number = other.has(mac))
        return fmt::format("interface {}{} has the address {} already", *number,
                           id == guest ? "" : " of " + other.name, mac);
    return std::nullopt;
  }

  std::mutex mutex_;
  std::map<DomId, Guest> guests_;
};

}  // namespace pinfold::cli
