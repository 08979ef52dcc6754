// Port I/O, CLI and STI by the I/O privilege level and the I/O bitmap that PHYSDEVOP_set_iopl and
// PHYSDEVOP_set_iobitmap set. The kernel is privileged from level 1 on, a program at level 3 (Xen: the kernel
// runs in ring 1). What neither level nor bitmap permits is a #GP(0).
#include <xen/physdev.h>

#include "kit/kit.hpp"
#include "kit/user_mode.hpp"
#include "refused/errors.hpp"

using namespace kit;

// Each a few bytes, then the system call by which a program comes back.
asm(R"(
users_in:  in $0x61, %al
           syscall
users_out: out %al, $0x80
           syscall
users_cli: cli
           syscall
users_sti: sti
           syscall
)");
extern "C" void users_in();
extern "C" void users_out();
extern "C" void users_cli();
extern "C" void users_sti();

namespace {

long set_iopl(u32 level) {
  physdev_set_iopl wanted{};
  wanted.iopl = level;
  return hypercall(__HYPERVISOR_physdev_op, PHYSDEVOP_set_iopl, &wanted);
}

long set_bitmap(const void* bitmap, u32 ports) {
  physdev_set_iobitmap wanted{};
  set_xen_guest_handle(wanted.bitmap, static_cast<u8*>(const_cast<void*>(bitmap)));
  wanted.nr_ports = ports;
  return hypercall(__HYPERVISOR_physdev_op, PHYSDEVOP_set_iobitmap, &wanted);
}

enum Kind { in, out, cli, sti, kinds };

bool kernel_may(Kind kind) {
  switch (kind) {
    case in: FAULTING("in $0x61, %%al", "i"(0)); break;
    case out: FAULTING("out %%al, $0x80", "i"(0)); break;
    case cli: FAULTING("cli", "i"(0)); break;
    default: FAULTING("sti", "i"(0)); break;
  }
  if (caught.vector == Caught::none) return true;
  CHECK_EQ(caught.vector, 13);
  CHECK_EQ(caught.error, 0);
  return false;
}

constexpr u32 all_ports = 512;

/// One line of the table: the kernel, or a program, at a level, without a bitmap, with one that permits
/// nothing, or with one that permits ports 0x61 and 0x80.
struct Line {
  u32 level;
  enum { none, closed, opened } bitmap;
  bool ports, flags;  ///< May it do IN and OUT? CLI and STI?
};
constexpr Line kernels[] = {{0, Line::none, false, false},  {0, Line::closed, false, false},
                            {0, Line::opened, true, false}, {1, Line::none, true, true},
                            {1, Line::closed, true, true},  {3, Line::none, true, true}};
constexpr Line programs[] = {{0, Line::none, false, false},   {1, Line::none, false, false},
                             {1, Line::closed, false, false}, {1, Line::opened, true, false},
                             {2, Line::none, false, false},   {3, Line::none, true, true},
                             {3, Line::closed, true, true}};
constexpr int lines = sizeof programs / sizeof *programs;

Page* bitmap;

void prepare(const Line& line) {
  CHECK_EQ(set_iopl(line.level), 0);
  for (u64& word : bitmap->words) word = ~0UL;
  auto* const bytes = reinterpret_cast<u8*>(bitmap);
  if (line.bitmap == Line::opened)
    for (const u32 port : {0x61U, 0x80U})
      bytes[port / 8] = static_cast<u8>(bytes[port / 8] & ~(1U << port % 8));
  CHECK_EQ(
      set_bitmap(line.bitmap == Line::none ? nullptr : bitmap, line.bitmap == Line::none ? 0 : all_ports), 0);
}

void check(const char* who, const Line& line, int kind, bool may) {
  const bool wanted = kind == in || kind == out ? line.ports : line.flags;
  if (may != wanted)
    say("FAILED: ", who, " at level ", static_cast<long>(line.level), ", bitmap ",
        static_cast<long>(line.bitmap), ", instruction ", static_cast<long>(kind),
        may ? ": goes through" : ": faults");
  CHECK(may == wanted);
}

// -- the program: one instruction a time

void (*const of_program[])() = {users_in, users_out, users_cli, users_sti};
int at = 0;

void next(Frame& frame) {
  if (at == lines * kinds) finish();
  prepare(programs[at / kinds]);
  frame.rip = word(of_program[at % kinds]);
}

void on_any(Frame& frame) {
  const bool fault = frame.vector == 13 && frame.error == 0 && frame.rip == word(of_program[at % kinds]);
  CHECK(fault || frame.vector == syscall_vector);
  check("a program", programs[at / kinds], at % kinds, !fault);
  ++at;
  next(frame);
}

}  // namespace

void test() {
  install_traps();
  bitmap = new_page();
  for (const Line& line : kernels) {
    prepare(line);
    for (int kind = 0; kind < kinds; ++kind)
      check("the kernel", line, kind, kernel_may(static_cast<Kind>(kind)));
  }
  CHECK_EQ(set_iopl(4), einval);
  CHECK_EQ(set_bitmap(bitmap, 65537), einval);

  Page* const user_stack = new_page();
  Page* const kernel_stack = new_page();
  take_syscalls();
  load_user_root();
  on_trap = on_any;
  prepare(programs[0]);
  enter_user(users_in, user_stack, kernel_stack);
}
