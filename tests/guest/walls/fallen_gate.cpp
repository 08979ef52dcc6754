// The gate loads any page tables for the guest and runs the guest's code at CPL0. There the guest writes its
// own tables, or it reads, writes, executes or loads as a root a frame that is not its own, as the command
// line says; only the view stops it. Or it uses a port, or loads an empty root. With "window" it goes by the
// windows that the resident path has, with "facts" it writes its domain's records, with "gate-text" the gate.
#include "kit/kit.hpp"

using namespace kit;

namespace {

/// The entries of #BP on hosts without and with fast paths, and the code behind the load of CR3.
constexpr u64 gate_texts[] = {0xffff810000001000, 0xffff810000223000};
constexpr u64 behind_the_load = 3 * 16 + 3;
constexpr u64 target = 0x200000;
/// Frames of the VM's physical space (vmm/memory/vm_memory.hpp).
constexpr u64 gate_code = 1UL << 26, windows = 2UL << 26, facts = 3UL << 26;

/// Page tables in plain data pages, which the validator does not know.
Page* root = nullptr;
void map_here(u64 va, u64 mfn) {
  if (root == nullptr) root = new_page();
  Page* table = root;
  for (int level = 4; level > 1; --level) {
    u64& entry = table->words[slot_of(level, va)];
    if (entry == 0) entry = mfn_of(new_page()) * page_size | data;
    table = page_of((entry & address_bits) / page_size);
  }
  table->words[slot_of(1, va)] = mfn * page_size | data;
}

/// `bytes`: instructions, the first in the lowest byte. An OUT follows, which the
/// monitor takes for the gate's.
Page* code(u64 bytes, unsigned length) {
  Page* page = new_page();
  u8* at = reinterpret_cast<u8*>(page) + behind_the_load;
  for (unsigned i = 0; i < length; ++i) *at++ = static_cast<u8>(bytes >> 8 * i);
  *at++ = 0xe6;
  *at = 0x7e;
  return page;
}

}  // namespace

void test() {
  install_traps();
  // mov %rbx,(%rcx); mov (%rcx),%rbx; jmp *%rcx
  constexpr u64 store = 0x198948, load = 0x198b48, jump = 0xe1ff;
  constexpr u64 port_in = 0x7ee4, port_out32 = 0x7ee7, port_outs = 0x6ef3;  // in, outl, rep outsb
  const bool own = asked_for("own-l1") || asked_for("own-l4");
  const bool runs = asked_for("execute");
  u64 frame = own ? mfn_of(table_of(asked_for("own-l4") ? 4 : 1, word(&test))) : foreign_frame();
  if (asked_for("descriptors")) {
    Page* const descriptors = new_page();
    CHECK_EQ(make_read_only(descriptors), 0);
    frame = mfn_of(descriptors);
    CHECK_EQ(hypercall(__HYPERVISOR_set_gdt, &frame, 1), 0);
  }
  const u64 port = asked_for("port-in")     ? port_in
                   : asked_for("port-outl") ? port_out32
                   : asked_for("port-outs") ? port_outs
                                            : 0;
  for (u64 gate_text : gate_texts)
    map_here(gate_text, mfn_of(port != 0 ? code(port, 2)
                               : runs    ? code(jump, 2)
                                         : code(asked_for("read") ? load : store, 3)));
  map_here(target, asked_for("facts")       ? facts
                   : asked_for("gate-text") ? gate_code
                   : asked_for("window")    ? windows + frame
                                            : frame);
  // With an empty root neither the next instruction nor a handler can be fetched.
  const u64 cr3 = (asked_for("root") ? frame : mfn_of(asked_for("nowhere") ? new_page() : root)) * page_size;
  say("about to leave the gate's path for frame ", hex(frame));
  FAULTING("mov %1, %%rax; int3", "r"(0UL), "r"(cr3), "c"(port == port_outs ? 4 : target), "b"(0x1234567UL),
           "d"(0x7eUL), "S"(gate_texts[0]));
  say(caught.vector == 3 ? "the gate stands, or REACHED the frame" : "the gate did something else");
}
