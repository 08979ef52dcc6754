// Checks, the guest's end, and where it begins.
#include <xen/sched.h>

#include "kit/kit.hpp"

namespace kit {

start_info_t* info;

namespace {

long checks = 0;
long failures = 0;

}  // namespace

void count_check(bool holds, const char* file, int line, const char* what) {
  ++checks;
  if (holds) return;
  ++failures;
  say("FAILED ", file, ":", static_cast<long>(line), ": ", what);
}

void count_equal(long got, long wanted, const char* file, int line, const char* what) {
  ++checks;
  if (got == wanted) return;
  ++failures;
  say("FAILED ", file, ":", static_cast<long>(line), ": ", what, " is ", got, " (",
      hex(static_cast<u64>(got)), "), not ", wanted, " (", hex(static_cast<u64>(wanted)), ")");
}

void shut_down(u32 reason) {
  sched_shutdown shutdown{reason};
  hypercall(__HYPERVISOR_sched_op, SCHEDOP_shutdown, &shutdown);
  for (;;) hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, 0);
}

void finish() {
  if (failures == 0) {
    say("all ", checks, " checks hold");
    shut_down(SHUTDOWN_poweroff);
  }
  say(failures, " of ", checks, " checks FAILED");
  shut_down(SHUTDOWN_crash);
}

bool is_dom0() { return (info->flags & SIF_INITDOMAIN) != 0; }

bool asked_for(const char* text) {
  const auto* line = reinterpret_cast<const char*>(info->cmd_line);
  for (; *line != 0; ++line) {
    u64 i = 0;
    while (text[i] != 0 && line[i] == text[i]) ++i;
    if (text[i] == 0) return true;
  }
  return false;
}

}  // namespace kit

extern "C" [[noreturn]] void kit_main(start_info_t* start_info) {
  kit::info = start_info;
  test();
  kit::finish();
}

// The compiler may make calls of these from plain loops.
extern "C" void* memset(void* to, int value, std::size_t size) {
  void* at = to;
  asm volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(value) : "memory");
  return to;
}
extern "C" void* memcpy(void* to, const void* from, std::size_t size) {
  void* at = to;
  asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size) : : "memory");
  return to;
}
