// A machine that grows under a guest: nothing of the guest's changes, and what is new is not the guest's.
// With `grows` on its command line the guest waits until that has happened, and changes tables meanwhile;
// else it looks at a machine that stays as it is.
#include <xen/memory.h>

#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr long no_such_frame = -1, not_the_guests = -16;  // EPERM, EBUSY

struct Machine {
  u64 frames;
  xen_machphys_mapping m2p;
};

Machine machine_now() {
  Machine now{};
  now.frames = static_cast<u64>(hypercall(__HYPERVISOR_memory_op, XENMEM_maximum_ram_page, nullptr)) + 1;
  CHECK_EQ(hypercall(__HYPERVISOR_memory_op, XENMEM_machphys_mapping, &now.m2p), 0);
  return now;
}

/// How many of the guest's frames have another number in the machine-to-phys table than in its own.
long wrong_m2p_entries(const Machine& machine) {
  const auto* p2m = reinterpret_cast<const u64*>(info->mfn_list);
  const auto* m2p = reinterpret_cast<const u64*>(machine.m2p.v_start);
  long wrong = 0;
  for (u64 pfn = 0; pfn < info->nr_pages; ++pfn)
    if (m2p[p2m[pfn]] != pfn) ++wrong;
  return wrong;
}

void is_refused(Page* window, u64 mfn, long error) {
  CHECK_EQ(map(window, mfn * page_size | data), error);
  CHECK_EQ(map(window, mfn * page_size | present), error);
}

void ends_at(const Machine& machine) {
  try_load(machine.m2p.v_end - 8);
  CHECK_EQ(caught.vector, Caught::none);
  try_load(machine.m2p.v_end);
  CHECK_EQ(caught.vector, 14);
  try_store(machine.m2p.v_end - 8, 0);
  CHECK_EQ(caught.vector, 14);
}

/// Maps two frames in turn, until the machine has another size.
Machine wait_for_growth(const Machine& before, Page* window) {
  const Page* pages[] = {new_page(), new_page()};
  const u64 mfns[] = {mfn_of(pages[0]), mfn_of(pages[1])};
  const u64 end = now_ns() + 120'000'000'000;
  long wrong = 0;
  for (u64 turn = 1;; ++turn) {
    if (map(window, mfns[turn % 2] * page_size | data) != 0) ++wrong;
    window->words[7] = turn;
    if (pages[turn % 2]->words[7] != turn) ++wrong;
    if (turn == 1000) say("waiting");
    const Machine now = machine_now();
    if (now.frames != before.frames || wrong != 0 || now_ns() > end) {
      CHECK_EQ(wrong, 0);
      return now;
    }
  }
}

}  // namespace

void test() {
  install_traps();
  Page* window = new_page();
  const Machine before = machine_now();
  CHECK_EQ(wrong_m2p_entries(before), 0);
  is_refused(window, before.frames, no_such_frame);
  ends_at(before);
  if (!asked_for("grows")) return;

  const Machine after = wait_for_growth(before, window);
  CHECK(after.frames > before.frames);
  CHECK_EQ(after.m2p.v_start, before.m2p.v_start);
  CHECK(after.m2p.v_end > before.m2p.v_end);
  CHECK_EQ(wrong_m2p_entries(after), 0);
  for (u64 mfn : {before.frames, before.frames + 5000, after.frames - 1})
    is_refused(window, mfn, not_the_guests);
  is_refused(window, after.frames, no_such_frame);
  ends_at(after);
}
