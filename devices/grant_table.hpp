// Hypercall 20, grant_table_op: a domain's grant table, version 1 (xen/grant_table.h).
#pragma once

#include <cstdint>

#include "devices/device.hpp"
#include "devices/grant_entries.hpp"
#include "devices/maptrack.hpp"
#include "devices/xen_abi.hpp"
#include "vmm/for_devices/grant_target.hpp"
#include "vmm/for_devices/hypercall.hpp"

namespace pinfold::devices {

/// A guest sets up its table and grants by writing entries; backends in the monitor use entries(). It can map
/// and copy what it granted to itself. There is no other domain whose grants it could use: mapping and
/// copying tell so in each operation's status, as Xen does. Called with the domain's lock held.
class GrantTable final : public Device {
 public:
  /// In frames, for the table and for the handles of mappings. The defaults are Xen's own.
  struct Limits {
    std::uint32_t table = 64;
    std::uint32_t maptrack = 1024;
  };

  GrantTable(DomId self, vmm::SharedFrameSource& frames, vmm::GrantTarget& target, Limits limits)
      : self_(self), target_(target), entries_(frames, limits.table), maptrack_(limits.maptrack) {}

  void register_with(vmm::HypercallTable& table);
  void attach(vmm::HypercallTable& hypercalls, BootRings&) override { register_with(hypercalls); }
  void detach() override;
  /// RDI the operation (GNTTABOP_*), RSI the array, RDX how many.
  std::int64_t grant_table_op(vmm::Hypercall& call);

  [[nodiscard]] GrantEntries& entries() { return entries_; }

 private:
  /// One end of a copy.
  struct CopyEnd {
    GrantedPage grant;  ///< If the end is named by a grant.
    vmm::SharedPage page;
  };

  std::int64_t setup_table(vmm::Hypercall& call, gnttab_setup_table& args);
  std::int64_t query_size(pvmmu::Held held, gnttab_query_size& args);
  std::int64_t set_version(gnttab_set_version& args);
  std::int64_t get_version(gnttab_get_version& args) const;
  std::int64_t get_status_frames(gnttab_get_status_frames& args) const;
  std::int16_t swap(const gnttab_swap_grant_ref& args);

  // grant_maps.cpp
  std::int16_t map(vmm::Hypercall& call, gnttab_map_grant_ref& args);
  std::int16_t map_by(std::uint32_t handle, vmm::Hypercall& call, const gnttab_map_grant_ref& args);
  std::int16_t unmap(vmm::Hypercall& call, const gnttab_unmap_grant_ref& args);
  std::int16_t replace(vmm::Hypercall& call, const gnttab_unmap_and_replace& args);
  void part_ended(std::uint32_t handle, std::uint32_t part);

  // grant_copy.cpp
  std::int16_t copy(vmm::Hypercall& call, const gnttab_copy& args);
  [[nodiscard]] std::int16_t check_end(const gnttab_copy::gnttab_copy_ptr& end, bool by_grant) const;
  [[nodiscard]] tl::expected<CopyEnd, std::int16_t> claim(pvmmu::Held held,
                                                          const gnttab_copy::gnttab_copy_ptr& end,
                                                          bool by_grant, GrantUse use);

  [[nodiscard]] bool is_self(std::uint16_t dom) const { return dom == DOMID_SELF || DomId(dom) == self_; }
  /// Begins a use of a grant of this domain to itself; the status if it can't.
  [[nodiscard]] tl::expected<GrantedPage, std::int16_t> use_own(pvmmu::Held held, std::uint32_t ref,
                                                                GrantUse use);

  DomId self_;
  vmm::GrantTarget& target_;
  GrantEntries entries_;
  Maptrack maptrack_;
};

}  // namespace pinfold::devices
