// Copying between frames that are granted, or the domain's own.
#include "devices/grant_table.hpp"
#include "pvmmu/budget.hpp"

namespace pinfold::devices {
namespace {

static_assert(sizeof(gnttab_copy) == 40);

}  // namespace

/// Which end is wrong in which way is found out in Xen's order.
std::int16_t GrantTable::copy(vmm::Hypercall& call, const gnttab_copy& args) {
  const bool from_grant = (args.flags & GNTCOPY_source_gref) != 0;
  const bool to_grant = (args.flags & GNTCOPY_dest_gref) != 0;
  if (const auto bad = check_domains(args); bad != GNTST_okay) return bad;
  const auto source = claim(call, args.source, from_grant, GrantUse::read);
  if (!source) return source.error();
  auto dest = claim(call, args.dest, to_grant, GrantUse::write);
  if (!dest) return dest.error();
  if (args.source.offset + args.len > int{page_size} || args.dest.offset + args.len > int{page_size})
    return GNTST_bad_copy_arg;
  call.spend(pvmmu::cost::page);
  dest->page.copy_from(args.dest.offset, source->page, args.source.offset, args.len);
  return GNTST_okay;
}

/// Frames of other domains are reached by grants only; a frame of its own a domain names as DOMID_SELF.
std::int16_t GrantTable::check_domains(const gnttab_copy& args) const {
  for (const auto dom : {args.source.domid, args.dest.domid})
    if (!is_self(dom) && !is_neighbour(DomId(dom))) return GNTST_bad_domain;
  const bool from_frame = (args.flags & GNTCOPY_source_gref) == 0,
             to_frame = (args.flags & GNTCOPY_dest_gref) == 0;
  if (from_frame && args.source.domid != DOMID_SELF) return GNTST_permission_denied;
  return to_frame && args.dest.domid != DOMID_SELF ? GNTST_permission_denied : GNTST_okay;
}

tl::expected<GrantTable::CopyEnd, std::int16_t> GrantTable::claim(vmm::Hypercall& call,
                                                                  const gnttab_copy::gnttab_copy_ptr& end,
                                                                  bool by_grant, GrantUse use) {
  if (by_grant) {
    auto grant =
        use_grant(call, is_self(end.domid) ? self_ : DomId(end.domid), end.u.ref, use, GrantSpan::copy);
    if (!grant) return tl::unexpected(grant.error());
    vmm::SharedPage page = grant->page();
    return CopyEnd{std::move(*grant), std::move(page)};
  }
  auto page = target_.hold_granted(*call.held, Mfn(end.u.gmfn), use);
  if (page) return CopyEnd{{}, std::move(*page)};
  return tl::unexpected<std::int16_t>(page.error() == Errno::einval ? GNTST_bad_page : GNTST_general_error);
}

}  // namespace pinfold::devices
