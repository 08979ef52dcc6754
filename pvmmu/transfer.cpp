// A frame goes from one domain to another with what is in it (GNTTABOP_transfer). On its way it is nobody's
// and not in the machine's pool: so no lock of one domain is needed while the other's is held. In each
// domain's log, the giver gives back a frame, and the receiver allocates one.
#include "pvmmu/traced_operation.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

Verdict<> Validator::give_away(Held held, Mfn mfn) {
  if (auto unused = check_exchangeable(held, mfn); !unused) return unused;
  TracedOperation traced(*this, TraceKind::deallocate, mfn);
  return traced.run([&]() -> Verdict<> {
    if (!is_unused(mfn)) return refuse(Rule::frame_in_use, mfn);
    budget_.spend(cost::view);
    // Not revoke(), which gives the memory back to the host.
    if (!view_.lend(mfn, Loan::none)) return refuse(Rule::view_cannot_lend, mfn);
    if (trace_ != nullptr) trace_frame_change(TraceKind::freed_frame, mfn, FrameType::none);
    set_m2p(mfn, no_pfn);
    records_.forget(mfn);
    frames_.take_out(mfn);
    --owned_;
    return {};
  });
}

Verdict<> Validator::receive(Held held, Mfn mfn, Pfn pfn) {
  {
    TracedOperation traced(*this, TraceKind::allocate);
    if (traced) traced->argument = traced->count = 1;
    const auto received = traced.run([&]() -> Verdict<> {
      if (!has_room()) return refuse(Rule::domain_limit, no_mfn);
      budget_.spend(cost::view);
      if (!view_.lend(mfn, Loan::read_write)) return refuse(Rule::view_cannot_lend, mfn);
      records_.will_fill(mfn, 1);
      mutable_facts(mfn).mine = mutable_facts(mfn).allocated = true;
      ++owned_;
      frames_.put_in(mfn, domain_);
      return {};
    });
    if (!received) return received;
    if (traced) traced->frame = mfn;
  }
  return set_machphys(held, mfn, pfn, 1);
}

}  // namespace pinfold::pvmmu
