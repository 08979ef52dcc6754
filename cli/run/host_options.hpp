// Which KVM, and how it is used.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "vmm/host_traits.hpp"

namespace pinfold::cli {

/// Only tests set more than the device.
struct HostOptions {
  std::filesystem::path kvm_device = "/dev/kvm";
  /// How views are write-protected; nullopt: the better of what the host offers.
  std::optional<vmm::WriteProtection> write_protection;
  /// Every exception and system call leaves to the monitor, as on hosts without two-dimensional paging.
  bool plain_gate = false;
  /// Does the gate finish page-table updates? `automatic`: where the host lets it, and nobody wants to watch
  /// each of them.
  enum class Resident : std::uint8_t { automatic, on, off };
  Resident resident = Resident::automatic;
};

}  // namespace pinfold::cli
