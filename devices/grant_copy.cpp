// Copying between frames that are granted, or the domain's own.
#include "devices/grant_table.hpp"
#include "pvmmu/budget.hpp"

namespace pinfold::devices {
namespace {

static_assert(sizeof(gnttab_copy) == 40);

}  // namespace

/// An operation that fails leaves nothing in use for those behind it.
std::int16_t GrantTable::copy(vmm::Hypercall& call, const gnttab_copy& args, CopyEnds& ends) {
  const std::int16_t status = copy_between(call, args, ends);
  if (status != GNTST_okay) ends = {};
  return status;
}

/// Which end is wrong in which way is found out in Xen's order.
std::int16_t GrantTable::copy_between(vmm::Hypercall& call, const gnttab_copy& args, CopyEnds& ends) {
  const bool from_grant = (args.flags & GNTCOPY_source_gref) != 0;
  const bool to_grant = (args.flags & GNTCOPY_dest_gref) != 0;
  if (const auto bad = check_domains(args); bad != GNTST_okay) return bad;
  if (const auto bad = claim(call, args.source, from_grant, GrantUse::read, ends.source); bad != GNTST_okay)
    return bad;
  if (const auto bad = claim(call, args.dest, to_grant, GrantUse::write, ends.dest); bad != GNTST_okay)
    return bad;
  if (args.source.offset + args.len > int{page_size} || args.dest.offset + args.len > int{page_size})
    return GNTST_bad_copy_arg;
  call.spend(pvmmu::cost::page);
  ends.dest.written_page().copy_from(args.dest.offset, ends.source.page(), args.source.offset, args.len);
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

std::int16_t GrantTable::claim(vmm::Hypercall& call, const gnttab_copy::gnttab_copy_ptr& named, bool by_grant,
                               GrantUse use, CopyEnd& end) {
  const std::uint64_t name = by_grant ? named.u.ref : named.u.gmfn;
  if (end.present() && end.domain == named.domid && end.by_grant == by_grant && end.named == name)
    return GNTST_okay;
  end = {};
  if (by_grant) {
    auto grant =
        use_grant(call, is_self(named.domid) ? self_ : DomId(named.domid), named.u.ref, use, GrantSpan::copy);
    if (!grant) return grant.error();
    end.grant = std::move(*grant);
  } else {
    auto page = target_.hold_granted(*call.held, Mfn(named.u.gmfn), use);
    if (!page) return page.error() == Errno::einval ? GNTST_bad_page : GNTST_general_error;
    end.own = std::move(*page);
  }
  end.domain = named.domid;
  end.by_grant = by_grant;
  end.named = name;
  return GNTST_okay;
}

}  // namespace pinfold::devices
