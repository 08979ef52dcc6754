// A vCPU starts with its context, goes down, and comes up at the same place. A context with values that are
// not allowed is refused and leaves no reference. Bits of CR4 that are not the guest's are dropped.
#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

constexpr long enoent = -2, efault = -14, eexist = -17, einval = -22;
constexpr u64 non_canonical = 0x0000800000000000, xen_range = 0xffff800000000000;
u64 rounds = 0;

constexpr u64 tsd = 1 << 2, de = 1 << 3, fsgsbase = 1 << 16, osxsave = 1 << 18;
constexpr u64 shown = 1 << 5 | 1 << 6 | 1 << 9 | 1 << 10;  // PAE, MCE, OSFXSR, OSXMMEXCPT
u64 first_cr4 = 0, first_bases[3];

u64 rdmsr(u32 number) {
  u32 low, high;
  asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
  return u64{high} << 32 | low;
}

void second() {
  asm volatile("mov %%cr4, %0" : "=r"(first_cr4));
  for (u32 i = 0; i < 3; ++i) first_bases[i] = rdmsr(0xc0000100 + i);
  for (;;) {
    __atomic_add_fetch(&rounds, 1, __ATOMIC_SEQ_CST);
    vcpu_op(VCPUOP_down, 1);
  }
}

bool reaches(u64 round) {
  const u64 limit = now_ns() + 20'000'000'000;
  while (__atomic_load_n(&rounds, __ATOMIC_SEQ_CST) != round || vcpu_op(VCPUOP_is_up, 1) != 0)
    if (now_ns() > limit) return false;
  return true;
}

template <class Change>
void refused(Change change) {
  vcpu_guest_context_t& context = context_of(second);
  change(context);
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context), einval);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), einval);
}

void refuse_contexts() {
  using Context = vcpu_guest_context_t;
  refused([](Context& c) { c.user_regs.rip = non_canonical; });
  refused([](Context& c) { c.user_regs.rsp = non_canonical; });
  refused([](Context& c) { c.kernel_sp = non_canonical; });
  refused([](Context& c) { c.event_callback_eip = non_canonical; });
  refused([](Context& c) { c.failsafe_callback_eip = non_canonical; });
  refused([](Context& c) { c.syscall_callback_eip = non_canonical; });
  refused([](Context& c) { c.fs_base = non_canonical; });
  refused([](Context& c) { c.gs_base_kernel = non_canonical; });
  refused([](Context& c) { c.gs_base_user = non_canonical; });
  refused([](Context& c) { c.trap_ctxt[255].address = non_canonical; });
  refused([](Context& c) { c.ldt_base = 8; });
  refused([](Context& c) { c.ldt_ents = 8193; });
  refused([](Context& c) { c.gdt_ents = 7169; });
  refused([](Context& c) { c.debugreg[0] = xen_range; });
  refused([](Context& c) { c.debugreg[7] = 1UL << 32; });
  refused([](Context& c) { c.flags = 0; });       // user mode, and no root for it
  refused([](Context& c) { c.ctrlreg[3] = 0; });  // frame 0 belongs to no domain
  refused([](Context& c) { c.ctrlreg[3] = ~0UL; });
  // A page that is mapped writable can't be a root, nor can one without valid entries.
  static Page* page = new_page();
  refused([](Context& c) { c.ctrlreg[3] = mfn_of(page) * page_size; });
  refused([](Context& c) { c.ctrlreg[1] = mfn_of(page) * page_size; });
  refused([](Context& c) {
    c.gdt_ents = 512;
    c.gdt_frames[0] = mfn_of(page);
  });
}

}  // namespace

void test() {
  CHECK_EQ(vcpu_op(VCPUOP_is_up, 0), 1);
  CHECK_EQ(vcpu_op(VCPUOP_is_up, 1), 0);
  // There are two vCPUs. For another number all operations fail, without a look at their arguments.
  for (u64 absent : {2UL, 32UL, 128UL, 1UL << 32, ~0UL})
    for (u64 operation :
         {VCPUOP_initialise, VCPUOP_up, VCPUOP_down, VCPUOP_is_up, VCPUOP_get_runstate_info,
          VCPUOP_register_runstate_memory_area, VCPUOP_set_periodic_timer, VCPUOP_stop_periodic_timer,
          VCPUOP_set_singleshot_timer, VCPUOP_stop_singleshot_timer, VCPUOP_register_vcpu_info,
          VCPUOP_register_vcpu_time_memory_area})
      CHECK_EQ(vcpu_op(operation, absent, reinterpret_cast<void*>(unmapped_address())), enoent);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), einval);
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, reinterpret_cast<void*>(unmapped_address())), efault);
  refuse_contexts();

  vcpu_guest_context_t& context = context_of(second);
  context.ctrlreg[4] = ~0UL;
  context.fs_base = 0x111000, context.gs_base_kernel = 0x222000, context.gs_base_user = 0x333000;
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context), 0);
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context_of(second)), eexist);
  CHECK_EQ(vcpu_op(VCPUOP_is_up, 1), 0);
  CHECK_EQ(rounds, 0);
  for (u64 round = 1; round <= 3; ++round) {
    CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
    CHECK(reaches(round));
  }
  CHECK_EQ(first_cr4 & ~fsgsbase, shown | tsd | de | osxsave);
  for (u64 i = 0; i < 3; ++i) CHECK_EQ(first_bases[i], 0x111000 * (i + 1));
}
