// Copying between frames that are granted, or the domain's own.
#include "devices/grant_table.hpp"
#include "pvmmu/budget.hpp"

namespace pinfold::devices {
namespace {

using pvmmu::GrantPurpose;
using pvmmu::Rule;

static_assert(sizeof(gnttab_copy) == 40);

GrantPurpose purpose_of(GrantUse use) {
  return use == GrantUse::read ? GrantPurpose::copy_from : GrantPurpose::copy_to;
}

const gnttab_copy::gnttab_copy_ptr& named_for(GrantUse use, const gnttab_copy& args) {
  return use == GrantUse::read ? args.source : args.dest;
}

bool is_by_grant(GrantUse use, const gnttab_copy& args) {
  return (args.flags & (use == GrantUse::read ? GNTCOPY_source_gref : GNTCOPY_dest_gref)) != 0;
}

/// One end of a copy, as the domain `self` names it.
vmm::GrantAttempt attempt_of(DomId self, GrantUse use, const gnttab_copy& args) {
  const auto& named = named_for(use, args);
  vmm::GrantAttempt attempt{purpose_of(use), {}, no_mfn, args.len, {}};
  if (is_by_grant(use, args))
    attempt.grant = GrantName(named.domid == DOMID_SELF ? self : DomId(named.domid), GrantRef(named.u.ref));
  else
    attempt.frame = Mfn(named.u.gmfn);
  return attempt;
}

}  // namespace

/// An operation that fails leaves nothing in use for those behind it.
std::int16_t GrantTable::copy(vmm::Hypercall& call, const gnttab_copy& args, CopyEnds& ends) {
  const std::int16_t status = copy_between(call, args, ends);
  if (status != GNTST_okay) ends = {};
  return status;
}

/// Which end is wrong in which way is found out in Xen's order.
std::int16_t GrantTable::copy_between(vmm::Hypercall& call, const gnttab_copy& args, CopyEnds& ends) {
  if (const auto bad = check_domains(call, args); bad != GNTST_okay) return bad;
  if (const auto bad = claim(call, args, GrantUse::read, ends.source); bad != GNTST_okay) return bad;
  if (const auto bad = claim(call, args, GrantUse::write, ends.dest); bad != GNTST_okay) return bad;
  for (const GrantUse use : {GrantUse::read, GrantUse::write})
    if (named_for(use, args).offset + args.len > int{page_size})
      return refuse(call, attempt_of(self_, use, args), Rule::grant_past_page);
  call.spend(pvmmu::cost::page);
  ends.dest.written_page().copy_from(args.dest.offset, ends.source.page(), args.source.offset, args.len);
  tell_copied(call, args, GrantUse::read, ends.source);
  tell_copied(call, args, GrantUse::write, ends.dest);
  return GNTST_okay;
}

void GrantTable::tell_copied(vmm::Hypercall& call, const gnttab_copy& args, GrantUse use,
                             const CopyEnd& end) {
  if (!end.by_grant || !target_.is_watched()) return;
  const GrantName name(is_self(end.domain) ? self_ : DomId(end.domain), end.grant.ref());
  target_.tell(*call.held, {purpose_of(use), name, end.grant.frame(), args.len, std::nullopt});
}

/// Frames of other domains are reached by grants only; a frame of its own a domain names as DOMID_SELF.
std::int16_t GrantTable::check_domains(vmm::Hypercall& call, const gnttab_copy& args) {
  for (const GrantUse use : {GrantUse::read, GrantUse::write}) {
    const auto dom = named_for(use, args).domid;
    if (!is_self(dom) && !is_neighbour(DomId(dom)))
      return refuse(call, attempt_of(self_, use, args), Rule::grant_no_domain);
  }
  for (const GrantUse use : {GrantUse::read, GrantUse::write})
    if (!is_by_grant(use, args) && named_for(use, args).domid != DOMID_SELF)
      return refuse(call, attempt_of(self_, use, args), Rule::grant_not_by_number);
  return GNTST_okay;
}

std::int16_t GrantTable::claim(vmm::Hypercall& call, const gnttab_copy& args, GrantUse use, CopyEnd& end) {
  const auto& named = named_for(use, args);
  const bool by_grant = is_by_grant(use, args);
  const std::uint64_t name = by_grant ? named.u.ref : named.u.gmfn;
  if (end.present() && end.domain == named.domid && end.by_grant == by_grant && end.named == name)
    return GNTST_okay;
  end = {};
  if (by_grant) {
    auto grant =
        use_grant(call, is_self(named.domid) ? self_ : DomId(named.domid), named.u.ref, use, GrantSpan::copy);
    if (!grant) return refuse(call, attempt_of(self_, use, args), grant.error());
    end.grant = std::move(*grant);
  } else {
    auto page = target_.hold_granted(*call.held, Mfn(named.u.gmfn), use);
    if (!page)
      return refuse(call, attempt_of(self_, use, args),
                    page.error() == Errno::einval ? Rule::grant_foreign_frame : Rule::grant_frame_in_use);
    end.own = std::move(*page);
  }
  end.domain = named.domid;
  end.by_grant = by_grant;
  end.named = name;
  return GNTST_okay;
}

}  // namespace pinfold::devices
