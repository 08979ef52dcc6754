// Hypercall 20, grant_table_op: a domain's grant table, version 1 (xen/grant_table.h).
#pragma once

#include <cstdint>

#include "devices/device.hpp"
#include "devices/grant_entries.hpp"
#include "devices/xen_abi.hpp"
#include "vmm/for_devices/hypercall.hpp"

namespace pinfold::devices {

/// What a guest with frontends only needs: it sets up its table and grants by writing entries. Backends in
/// the monitor use entries(). There is no other domain whose grants could be mapped: mapping and copying tell
/// so in each operation's status, as Xen does. Called with the domain's lock held.
class GrantTable final : public Device {
 public:
  /// Xen's own default.
  static constexpr std::uint32_t default_max_frames = 64;

  GrantTable(DomId self, vmm::SharedFrameSource& frames, std::uint32_t max_frames = default_max_frames)
      : self_(self), entries_(frames, max_frames) {}

  void register_with(vmm::HypercallTable& table);
  void attach(vmm::HypercallTable& hypercalls, BootRings&) override { register_with(hypercalls); }
  void detach() override { entries_.drop(); }
  /// RDI the operation (GNTTABOP_*), RSI the array, RDX how many.
  std::int64_t grant_table_op(vmm::Hypercall& call);

  [[nodiscard]] GrantEntries& entries() { return entries_; }

 private:
  std::int64_t setup_table(vmm::Hypercall& call, gnttab_setup_table& args);
  std::int64_t query_size(pvmmu::Held held, gnttab_query_size& args);
  std::int64_t set_version(gnttab_set_version& args);
  std::int64_t get_version(gnttab_get_version& args) const;
  std::int64_t get_status_frames(gnttab_get_status_frames& args) const;
  void map(gnttab_map_grant_ref& args) const;
  void copy(gnttab_copy& args) const;
  void swap(gnttab_swap_grant_ref& args);

  [[nodiscard]] bool is_self(std::uint16_t dom) const { return dom == DOMID_SELF || DomId(dom) == self_; }

  DomId self_;
  GrantEntries entries_;
};

}  // namespace pinfold::devices
