// The grants that a domain has mapped: Xen's maptrack.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "devices/granted_page.hpp"

namespace pinfold::devices {

/// What GNTTABOP_map_grant_ref returned a handle for. It ends when both of its parts are unmapped: the one
/// for the host, which is an entry of a page table, and the one for devices, of which only the address
/// exists.
struct GrantMapping {
  DomId owner;               ///< Who granted it.
  GrantedPage page;          ///< One use of the grant, for both parts.
  std::uint32_t parts = 0;   ///< GNTMAP_host_map, GNTMAP_device_map: what is mapped still.
  bool is_by_entry = false;  ///< GNTMAP_contains_pte.
};

/// The mappings by handle. Not thread-safe.
class Maptrack {
 public:
  /// Handles for each of the frames that Xen would have for its table (max_maptrack_frames).
  static constexpr std::uint32_t per_frame = 256;
  explicit Maptrack(std::uint32_t max_frames) : most_(std::uint64_t{max_frames} * per_frame) {}

  /// A handle that nothing is mapped by yet; nothing when there is none left.
  [[nodiscard]] std::optional<std::uint32_t> open();
  /// The caller either maps something by it or closes it.
  [[nodiscard]] GrantMapping& at(std::uint32_t handle) { return mappings_[handle]; }
  /// Null for a handle by which nothing is mapped.
  [[nodiscard]] GrantMapping* find(std::uint32_t handle);
  /// The handle may be given again. Returns what was mapped by it, whose end is the caller's.
  GrantedPage close(std::uint32_t handle);
  /// Adds those of the next handles, up to `most`, that are mapped, of all frames or of one; `next` begins
  /// with 0. True while there may be more.
  bool list(std::uint32_t& next, Mfn frame, std::vector<MappedGrant>& found, std::uint32_t most) const;
  /// Ends all, but returns what other domains granted.
  std::vector<GrantedPage> clear(DomId self);

 private:
  std::uint64_t most_;
  std::deque<GrantMapping> mappings_;
  std::vector<std::uint32_t> free_;
};

}  // namespace pinfold::devices
