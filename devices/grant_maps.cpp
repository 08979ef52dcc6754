// Mapping grants, and ending that.
#include "devices/grant_table.hpp"

namespace pinfold::devices {
namespace {

static_assert(sizeof(gnttab_map_grant_ref) == 32 && sizeof(gnttab_unmap_grant_ref) == 24 &&
              sizeof(gnttab_unmap_and_replace) == 24);

using pvmmu::GrantPurpose;
using pvmmu::Rule;

vmm::GrantedEntry entry_of(DomId owner, const GrantedPage& page, std::uint32_t flags = 0) {
  return {owner,
          page.frame(),
          page.use() == GrantUse::write,
          (flags & GNTMAP_application_map) != 0,
          flags >> _GNTMAP_guest_avail0,
          page.ref()};
}

}  // namespace

std::int16_t GrantTable::map(vmm::Hypercall& call, gnttab_map_grant_ref& args) {
  if ((args.flags & (GNTMAP_device_map | GNTMAP_host_map)) == 0)
    return refuse_map(call, args, Rule::grant_maps_nowhere);
  // DOMID_SELF is no domain here, as on Xen.
  if (DomId(args.dom) != self_ && !is_neighbour(DomId(args.dom)))
    return refuse_map(call, args, Rule::grant_no_domain);
  const auto handle = maptrack_.open();
  if (!handle) return refuse_map(call, args, Rule::grant_no_handle);
  const std::int16_t status = map_by(*handle, call, args);
  if (status != GNTST_okay) {
    (void)maptrack_.close(*handle);
    return status;
  }
  args.handle = *handle;
  args.dev_bus_addr = address_of(maptrack_.at(*handle).page.frame()).raw();
  return GNTST_okay;
}

std::int16_t GrantTable::map_by(std::uint32_t handle, vmm::Hypercall& call,
                                const gnttab_map_grant_ref& args) {
  const GrantUse use = (args.flags & GNTMAP_readonly) != 0 ? GrantUse::read : GrantUse::write;
  auto page = use_grant(call, DomId(args.dom), args.ref, use, GrantSpan::mapping);
  if (!page) return refuse_map(call, args, page.error());
  const bool is_by_entry = (args.flags & GNTMAP_contains_pte) != 0;
  if ((args.flags & GNTMAP_host_map) != 0 &&
      !target_.map_granted(*call.held, {args.host_addr, is_by_entry, call.vcpu},
                           entry_of(DomId(args.dom), *page, args.flags)))
    return GNTST_general_error;
  if ((args.flags & GNTMAP_host_map) == 0 && target_.is_watched())
    target_.tell(*call.held,
                 {GrantPurpose::map, GrantName(DomId(args.dom), page->ref()), page->frame(), 0, {}});
  maptrack_.at(handle) = {DomId(args.dom), std::move(*page),
                          args.flags & (GNTMAP_device_map | GNTMAP_host_map), is_by_entry};
  return GNTST_okay;
}

std::int16_t GrantTable::refuse_map(vmm::Hypercall& call, const gnttab_map_grant_ref& args, Rule rule) {
  return refuse(call, {GrantPurpose::map, GrantName(DomId(args.dom), GrantRef(args.ref)), no_mfn, 0, {}},
                rule);
}

std::int16_t GrantTable::refuse_unmap(vmm::Hypercall& call, std::uint32_t handle, Rule rule) {
  return refuse(call, {GrantPurpose::unmap, {}, no_mfn, handle, {}}, rule);
}

std::int16_t GrantTable::unmap(vmm::Hypercall& call, const gnttab_unmap_grant_ref& args) {
  GrantMapping* const mapping = maptrack_.find(args.handle);
  if (mapping == nullptr) return refuse_unmap(call, args.handle, Rule::grant_unknown_handle);
  const bool device = args.dev_bus_addr != 0 && (mapping->parts & GNTMAP_device_map) != 0;
  if (device && args.dev_bus_addr != address_of(mapping->page.frame()).raw())
    return refuse_unmap(call, args.handle, Rule::grant_other_address);
  const bool host = args.host_addr != 0 && (mapping->parts & GNTMAP_host_map) != 0;
  if (host && !target_.unmap_granted(*call.held, {args.host_addr, mapping->is_by_entry, call.vcpu},
                                     entry_of(mapping->owner, mapping->page)))
    return GNTST_general_error;
  part_ended(args.handle, (host ? GNTMAP_host_map : 0U) | (device ? GNTMAP_device_map : 0U));
  return GNTST_okay;
}

std::int16_t GrantTable::replace(vmm::Hypercall& call, const gnttab_unmap_and_replace& args) {
  GrantMapping* const mapping = maptrack_.find(args.handle);
  if (mapping == nullptr) return refuse_unmap(call, args.handle, Rule::grant_unknown_handle);
  if (args.host_addr == 0 || (mapping->parts & GNTMAP_host_map) == 0) return GNTST_okay;
  // Without a new address it is an unmap. An entry that was named by its own address can't be replaced.
  if (args.new_addr != 0 && mapping->is_by_entry) return GNTST_general_error;
  const vmm::GrantPlace where{args.host_addr, mapping->is_by_entry, call.vcpu};
  const vmm::GrantedEntry entry = entry_of(mapping->owner, mapping->page);
  const Status done = args.new_addr == 0
                          ? target_.unmap_granted(*call.held, where, entry)
                          : target_.replace_granted(*call.held, where, entry, GuestVaddr(args.new_addr));
  if (!done) return GNTST_general_error;
  part_ended(args.handle, GNTMAP_host_map);
  return GNTST_okay;
}

void GrantTable::part_ended(std::uint32_t handle, std::uint32_t part) {
  GrantMapping& mapping = maptrack_.at(handle);
  mapping.parts &= ~part;
  if (mapping.parts == 0) ended_.push_back(maptrack_.close(handle));
}

/// After unmaps: the frames go back to whoever granted them when no vCPU has a translation of them any more.
void GrantTable::let_go(vmm::Hypercall& call) {
  target_.flush_granted(*call.held, call.vcpu);
  ended_.clear();
}

}  // namespace pinfold::devices
