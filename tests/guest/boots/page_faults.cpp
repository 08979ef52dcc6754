// The kernel gets a program's page fault if its own tables forbid the access: the page is not present, or it
// or a level above is read-only. It does not get the fault if they permit the access, as the first write to a
// clean page. The test counts exits: each change of an entry is one hypercall, and if the gate can tell these
// faults apart, there are no other exits.
#include <xen/callback.h>

#include "kit/user_mode.hpp"

using namespace kit;

extern "C" {
u64 target;
void user_code();
extern char at_load[], at_store[];
}

asm(R"(
user_code:
        mov target(%rip), %rdi
at_load:
        mov (%rdi), %al
at_store:
        movb $1, (%rdi)
        syscall
        jmp user_code
)");

namespace {

constexpr u64 rounds = 500;
constexpr u64 readable = present | user | accessed, clean = readable | writable;
constexpr u64 by_load = user, by_store = user | writable;  // error codes
/// An address that the initial tables do not map, although their L2 covers it.
constexpr u64 elsewhere = 0xffffffffb0000000;
/// Addresses of the gate's state, of the mirrors where the gate may read them, and of nothing.
constexpr u64 out_of_reach[] = {0xffff810000224000, 0xffff818000000000, 0xffff818000001000,
                                0xffff820000000000};

u64 frame_bits = 0, faults = 0, step = 0;

void note_fault(const Frame& frame, const char* at, u64 error) {
  ++faults;
  CHECK_EQ(frame.vector, 14);
  CHECK_EQ(frame.rip, word(at));
  CHECK_EQ(frame.error, error);
  CHECK_EQ(cr2(), target);
}

/// Like a kernel with a page that is first read and then written: two faults, with a hypercall each.
void on_demand(Frame& frame) {
  const bool first = faults % 2 == 0;
  note_fault(frame, first ? at_load : at_store, first ? by_load : present | by_store);
  CHECK_EQ(set_entry(entry_address(1, target), frame_bits | (first ? readable : clean | dirty)), 0);
}

void forbidden_above(Frame& frame) {
  note_fault(frame, at_store, present | by_store);
  CHECK_EQ(set_entry(entry_address(2, target), entry_of(2, target) | writable), 0);
}

void in_the_hypervisors_range(Frame& frame) {
  const bool load = frame.rip == word(at_load);
  note_fault(frame, load ? at_load : at_store, (frame.error & present) | (load ? by_load : by_store));
  frame.rip += load ? 2 : 3;
}

void map_in_a_table_of_its_own(u64 va, u64 leaf) {
  Page* table = new_page();
  table->words[slot_of(1, va)] = leaf;
  CHECK_EQ(make_read_only(table), 0);
  CHECK_EQ(set_entry(entry_address(2, va), mfn_of(table) * page_size | readable), 0);
}

void (*on_fault)(Frame&) = on_demand;

/// After the program has written its target: what it does next.
void on_call() {
  ++step;
  if (step < rounds) {
    CHECK_EQ(map(target, 0), 0);
  } else if (step == rounds) {
    CHECK_EQ(faults, 2 * rounds);
    CHECK_EQ(map(target, frame_bits | clean), 0);
  } else if (step == rounds + 1) {
    CHECK_EQ(faults, 2 * rounds);
    CHECK_EQ(entry_of(1, target) & dirty, dirty);
    target = elsewhere;
    map_in_a_table_of_its_own(target, frame_bits | clean);
    on_fault = forbidden_above;
  } else if (step == rounds + 2) {
    CHECK_EQ(faults, 2 * rounds + 1);
    CHECK_EQ(entry_of(1, target) & dirty, dirty);
    on_fault = in_the_hypervisors_range;
    target = out_of_reach[0];
  } else {
    const u64 tried = step - rounds - 2;
    CHECK_EQ(faults, 2 * rounds + 1 + 2 * tried);
    if (tried == sizeof out_of_reach / sizeof *out_of_reach) finish();
    target = out_of_reach[tried];
  }
}

void on_trap_or_call(Frame& frame) {
  if (frame.vector == syscall_vector)
    on_call();
  else
    on_fault(frame);
}

}  // namespace

void test() {
  install_traps();
  cr2();
  on_trap = on_trap_or_call;
  callback_register callback{};
  callback.type = CALLBACKTYPE_syscall;
  callback.address = word(kit_syscall_entry);
  callback.flags = CALLBACKF_mask_events;
  CHECK_EQ(hypercall(__HYPERVISOR_callback_op, CALLBACKOP_register, &callback), 0);
  target = unmapped_address();
  frame_bits = mfn_of(reinterpret_cast<void*>(target)) * page_size;
  load_user_root();
  enter_user(user_code, new_page(), new_page());
}
