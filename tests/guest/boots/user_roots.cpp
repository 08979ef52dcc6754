// The kernel loads another root for its program while the program waits in a system call or a page fault. One
// root has an alias of the program's memory, the other one has not. So the program reads through the alias,
// or faults, as the root that was loaded last says.
#include "kit/user_mode.hpp"

using namespace kit;

extern "C" {
u64 alias;  ///< Of `value`, in one of the roots.
void read_by_alias();
extern char load[];
}

asm(R"(
read_by_alias:
        mov alias(%rip), %rbx
load:
        mov (%rbx), %rax
        syscall
        jmp load
)");

namespace {

constexpr u64 slot = 2, rounds = 200, expected = 0x5a5a;
u64 value = expected;
u64 with_alias = 0, without = 0, round = 0;

void use(u64 root) { CHECK_EQ(extended(MMUEXT_NEW_USER_BASEPTR, root), 0); }

void trapped(Frame& frame) {
  if (round++ % 2 == 0) {
    CHECK_EQ(frame.vector, syscall_vector);
    CHECK_EQ(frame.rax, expected);
    if (round > rounds) finish();
    use(without);
    return;
  }
  CHECK_EQ(frame.vector, 14);
  CHECK_EQ(frame.error, 4);  // a read by user code of a page that is not present
  CHECK_EQ(cr2(), alias);
  CHECK_EQ(frame.rip, word(load));
  use(with_alias);
}

}  // namespace

void test() {
  install_traps();
  cr2();
  on_trap = trapped;
  Page* const user_stack = new_page();
  Page* const kernel_stack = new_page();
  take_syscalls();
  const u64 kernel_half = reinterpret_cast<const Page*>(info->pt_base)->words[511];
  without = load_user_root();
  Page* const root = new_page();
  root->words[511] = root->words[slot] = kernel_half;
  CHECK_EQ(make_read_only(root), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L4_TABLE, mfn_of(root)), 0);
  with_alias = mfn_of(root);
  alias = (word(&value) & ((1UL << 39) - 1)) | slot << 39;
  use(with_alias);
  enter_user(read_by_alias, user_stack, kernel_stack);
}
