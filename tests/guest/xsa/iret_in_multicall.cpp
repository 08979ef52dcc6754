// XSA-213: an iret to user mode in the middle of a multicall ends the multicall. Later calls would run in the
// wrong mode; here they would map the kernel's root writable.
#include "kit/user_mode.hpp"
#include "refused/errors.hpp"

using namespace kit;

extern "C" {
void user_calls();
long kit_multicall_with_iret(multicall_entry_t* calls, u64 count, const void* frame);
}

// The iret's frame is at the stack pointer that the multicall is made with.
asm(R"(
user_calls:
        mov $0x77, %r12d
        syscall
        ud2
kit_multicall_with_iret:
        mov %rdx, %rsp
        mov $13, %eax
        syscall
        ud2
)");

namespace {

Page* page;
multicall_entry_t calls[3];

void back_in_the_kernel(Frame& frame) {
  CHECK_EQ(frame.vector, syscall_vector);
  CHECK_EQ(frame.r12, 0x77);
  CHECK_EQ(frame.rax, 0x1234);  // what the iret's frame had for it
  CHECK_EQ(calls[0].result, 0);
  CHECK_EQ(calls[2].result, 4321);
  CHECK_EQ(entry_of(1, word(page)) & writable, 0);  // the third did not run
  CHECK_EQ(make_writable(page), 0);                 // nor was anything lost
  finish();
}

}  // namespace

void test() {
  install_traps();
  cr2();
  on_trap = back_in_the_kernel;
  page = new_page();
  take_syscalls();
  CHECK_EQ(hypercall(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, new_page() + 1), 0);
  load_user_root();
  calls[0].op = __HYPERVISOR_update_va_mapping;
  calls[0].args[0] = word(page);
  calls[0].args[1] = mfn_of(page) * page_size | (data & ~writable);
  calls[0].args[2] = UVMF_INVLPG;
  calls[1].op = __HYPERVISOR_iret;
  calls[2] = calls[0];
  calls[2].args[1] = mfn_of(page) * page_size | data;
  for (auto& call : calls) call.result = 4321;
  static u64 frame[9];
  u64 i = 0;
  for (u64 value : {0x1234UL, 0UL, 0UL, 0UL, word(user_calls), 0xe033UL, 0x202UL, word(new_page() + 1),
                    u64{FLAT_KERNEL_SS}})
    frame[i++] = value;
  kit_multicall_with_iret(calls, 3, frame);
}
