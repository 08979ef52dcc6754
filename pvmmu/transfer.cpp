// A frame goes from one domain to another with what is in it (GNTTABOP_transfer). On its way it is nobody's
// and not in the machine's pool: so no lock of one domain is needed while the other's is held.
#include "pvmmu/traced_operation.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

Verdict<> Validator::give_away(Held, Mfn mfn) {
  TracedOperation traced(*this, TraceKind::give_away, mfn);
  return traced.run([&]() -> Verdict<> {
    if (const auto rule = why_not_exchangeable(mfn)) return refuse(*rule, mfn);
    if (!is_unused(mfn)) return refuse(Rule::frame_in_use, mfn);
    budget_.spend(cost::view);
    // Not revoke(), which gives the memory back to the host.
    if (!view_.lend(mfn, Loan::none)) {
      mutable_facts(mfn).window = view_.is_window_open(mfn);
      return refuse(Rule::view_cannot_lend, mfn);
    }
    if (trace_ != nullptr) trace_frame_change(TraceKind::freed_frame, mfn, FrameType::none);
    set_m2p(mfn, no_pfn);
    records_.forget(mfn);
    frames_.take_out(mfn);
    --owned_;
    return {};
  });
}

Verdict<> Validator::receive(Held, Mfn mfn, Pfn pfn) {
  TracedOperation traced(*this, TraceKind::receive, mfn);
  if (traced) traced->argument = pfn.raw();
  return traced.run([&]() -> Verdict<> {
    if (!has_room()) return refuse(Rule::domain_limit, no_mfn);
    budget_.spend(cost::view);
    if (!view_.lend(mfn, Loan::read_write)) return refuse(Rule::view_cannot_lend, mfn);
    view_.grant(mfn, 1);
    records_.will_fill(mfn, 1);
    FrameFacts& frame = mutable_facts(mfn);
    frame.mine = frame.allocated = true;
    frame.type = records_.plain_type();
    ++owned_;
    frames_.put_in(mfn, domain_);
    set_m2p(mfn, pfn);
    return {};
  });
}

}  // namespace pinfold::pvmmu
