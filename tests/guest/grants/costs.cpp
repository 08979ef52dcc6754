// What a copy, a mapping and an event cost, in ticks of the processor's clock, which are instructions where
// an emulator counts them (docs/benchmarks.md). The numbers of exits are what a test can check.
#include <xen/sched.h>

#include "events/ports.hpp"
#include "grants/own_grants.hpp"
#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

constexpr u32 from_ref = 20, to_ref = 21;
u64 rounds = 500;
u64 upcalls = 0;
u32 port;

u64 ticks() {
  u32 low, high;
  asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
  return u64{high} << 32 | low;
}

/// Runs it once before it counts.
template <class Operation>
void cost_of(const char* what, Operation operation, u64 each = 1) {
  operation();
  const u64 before = ticks();
  for (u64 i = 0; i < rounds; ++i) operation();
  say("cost: ", what, ": ", static_cast<long>((ticks() - before) / (rounds * each)));
}

void costs_of_grants() {
  Page *from = new_page(), *to = new_page();
  grant(from_ref, mfn_of(from), plain | GTF_readonly);
  grant(to_ref, mfn_of(to));
  constexpr u16 both = GNTCOPY_source_gref | GNTCOPY_dest_gref;
  static gnttab_copy list[32];
  const auto one = copy_of(both, from_ref, to_ref, 4096, 0, 0, own_number());
  for (auto& args : list) args = one;
  cost_of("copy of a page", [&] { CHECK_EQ(grant_op(GNTTABOP_copy, list[0]), 0); });
  cost_of(
      "copy of a page, 32 in a list", [&] { CHECK_EQ(grant_op(GNTTABOP_copy, list[0], 32), 0); }, 32);
  for (const auto& args : list) CHECK_EQ(args.status, GNTST_okay);
  for (auto& args : list) args.len = 8;
  cost_of("copy of 8 bytes", [&] { CHECK_EQ(grant_op(GNTTABOP_copy, list[0]), 0); });
  cost_of(
      "copy of 8 bytes, 32 in a list", [&] { CHECK_EQ(grant_op(GNTTABOP_copy, list[0], 32), 0); }, 32);
  gnttab_map_grant_ref map_args{window(0), GNTMAP_host_map, to_ref, own_number(), 0, 0, 0};
  cost_of("map and unmap of a page", [&] {
    CHECK_EQ(grant_op(GNTTABOP_map_grant_ref, map_args), 0);
    gnttab_unmap_grant_ref unmap{window(0), 0, map_args.handle, 99};
    CHECK_EQ(grant_op(GNTTABOP_unmap_grant_ref, unmap), 0);
    CHECK_EQ(unmap.status, GNTST_okay);
  });
}

void on_event(Frame&) {
  two_level::take_upcall(0);
  two_level::clear_pending(port);
  ++upcalls;
}

/// To the vCPU itself: it runs when the event comes.
void costs_of_events() {
  on_trap = on_event;
  CHECK_EQ(hypercall(__HYPERVISOR_set_callbacks, kit_event_entry, 0, 0), 0);
  two_level::mask_all();
  port = bind_ipi(0);
  two_level::set_mask(port, false);
  mask_upcalls(0, false);
  cost_of("event to a running vCPU", [] { send(port); });
  CHECK_EQ(upcalls, rounds + 1);
  mask_upcalls(0, true);
  cost_of("event that is masked", [] {
    send(port);
    two_level::clear_pending(port);
  });
}

u32 ports[2];  ///< The one that wakes each vCPU.
u64 answers = 0;

void sleep_until_woken(u32 vcpu) {
  CHECK_EQ(poll(&ports[vcpu], 1, 0), 0);
  two_level::clear_pending(ports[vcpu]);
}
void second() {
  for (;;) {
    sleep_until_woken(1);
    ++answers;
    send(ports[0]);
  }
}
/// Each wakes the other and sleeps until that one wakes it: two events and two sleeps.
void costs_of_sleepers() {
  for (u32 vcpu = 0; vcpu < 2; ++vcpu) ports[vcpu] = bind_ipi(vcpu);
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context_of(second)), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
  cost_of(
      "event to a sleeping vCPU, and its sleep",
      [] {
        send(ports[1]);
        sleep_until_woken(0);
      },
      2);
  CHECK_EQ(answers, rounds + 1);
}

}  // namespace

void test() {
  install_traps();
  rounds = number_behind("rounds=", rounds);
  costs_of_grants();
  costs_of_events();
  if (asked_for("sleeper")) costs_of_sleepers();
}
