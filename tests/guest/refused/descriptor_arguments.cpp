// Descriptor tables and descriptors that a guest may not have, and places where they may not be.
#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

constexpr u64 bad_frames[] = {0, 1UL << 20, (1UL << 40) - 1, 1UL << 52, ~0UL};
constexpr u64 code = 0x00affa000000ffff, tss = 0x0000890000000067, trap_gate = 0x00008f0000000000,
              ldt = 0x0000820000000000, gate_to_monitor = 0x0000ec00e0080000;

long set_gdt(const void* frames, u64 entries) { return hypercall(__HYPERVISOR_set_gdt, frames, entries); }
long update(u64 address, u64 descriptor) {
  return hypercall(__HYPERVISOR_update_descriptor, address, descriptor);
}

long set_ldt(u64 base, u32 entries) {
  mmuext_op op{};
  op.cmd = MMUEXT_SET_LDT;
  op.arg1.linear_addr = base;
  op.arg2.nr_ents = entries;
  return hypercall(__HYPERVISOR_mmuext_op, &op, 1, nullptr, DOMID_SELF);
}

void tables() {
  Page* good = new_page();
  good->words[2] = code;
  CHECK_EQ(make_read_only(good), 0);
  u64 frames[14];
  for (u64& frame : frames) frame = mfn_of(good);
  for (u64 entries : {7169UL, 8192UL, 0xffffffffUL, 0xffffe000UL}) CHECK_EQ(set_gdt(frames, entries), einval);
  CHECK_EQ(set_gdt(frames, 1UL << 32), 0);  // 32 bits are the number: none
  CHECK_EQ(set_gdt(frames, 14 * 512), 0);
  // The last of fourteen frames is bad: the old table stays, and the references for the new one are dropped.
  Page* other = new_page();
  CHECK_EQ(make_read_only(other), 0);
  for (u64& frame : frames) frame = mfn_of(other);
  for (u64 frame : bad_frames) {
    frames[13] = frame;
    CHECK_EQ(set_gdt(frames, 14 * 512), einval);
    CHECK_EQ(make_writable(other), 0);
    CHECK_EQ(make_read_only(other), 0);
    CHECK_EQ(make_writable(good), ebusy);
  }
  for (u64 frame : {mfn_of(new_page()), mfn_of(table_of(1, word(good))),
                    mfn_of(reinterpret_cast<void*>(info->pt_base)), info->shared_info / page_size}) {
    frames[13] = frame;  // mapped writable, a table, a root, the monitor's
    CHECK_EQ(set_gdt(frames, 14 * 512), einval);
  }
  // A frame with a descriptor that is not allowed.
  for (u64 descriptor : {tss, trap_gate, ldt, gate_to_monitor}) {
    CHECK_EQ(make_writable(other), 0);
    other->words[511] = descriptor;
    CHECK_EQ(make_read_only(other), 0);
    frames[13] = mfn_of(other);
    CHECK_EQ(set_gdt(frames, 14 * 512), einval);
  }
  CHECK_EQ(make_writable(good), ebusy);
  CHECK_EQ(set_gdt(nullptr, 0), 0);
  CHECK_EQ(make_writable(good), 0);
  CHECK_EQ(make_writable(other), 0);
}

void single_descriptors() {
  Page* page = new_page();
  const u64 frame = mfn_of(page) * page_size;
  for (u64 offset = 1; offset < 8; ++offset) CHECK_EQ(update(frame + offset, code), einval);
  for (u64 bad : bad_frames) CHECK_EQ(update(bad << 12, code), einval);
  for (u64 descriptor : {tss, trap_gate, ldt, gate_to_monitor})
    CHECK_EQ(update(frame + 8, descriptor), einval);
  CHECK_EQ(page->words[1], 0);
  for (int level = 1; level <= 4; ++level) {
    Page* table = table_of(level, word(page));
    const u64 before = table->words[3];
    CHECK_EQ(update(mfn_of(table) * page_size + 24, 0), einval);
    CHECK_EQ(table->words[3], before);
  }
  CHECK_EQ(update(frame + 8, code & ~(3UL << 45)), 0);
  CHECK_EQ(page->words[1], code);  // with DPL 3, like all of the guest's
}

void local_tables() {
  Page* page = new_page();
  for (u32 entries : {8193U, 0x10000U, 0x80000000U, 0xffffffffU})
    CHECK_EQ(set_ldt(word(page), entries), einval);
  for (u64 base : {0x0000800000000000UL, 0x8000000000000000UL, 0xffff800000000000UL, 0xffff87fffffff000UL,
                   word(page) + 8, word(page) + 0xfff})
    CHECK_EQ(set_ldt(base, 1), einval);
  // An LDT where nothing is mapped, or which holds no descriptors: as on Xen, this shows when it is used.
  for (u64 base :
       {0x7654321000UL, word(page), word(table_of(1, word(page))), 0xffff7ffffffff000UL & 0x7ffffffff000UL})
    CHECK_EQ(set_ldt(base, 8192), 0);
  // XSA-298: no selector of such a table gives a descriptor.
  FAULTING("mov %0, %%fs", "r"(7UL));
  CHECK_EQ(set_ldt(0, 0), 0);
  FAULTING("mov %0, %%fs", "r"(7UL));
  page->words[0] = 1;
  CHECK_EQ(page->words[0], 1);
}

}  // namespace

void test() {
  install_traps();
  cr2();
  tables();
  single_descriptors();
  local_tables();
}
