// Checks, and a test guest's beginning and end.
#include <xen/sched.h>
#include <xen/vcpu.h>

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

u64 number_behind(const char* key, u64 otherwise) {
  const auto* line = reinterpret_cast<const char*>(info->cmd_line);
  for (; *line != 0; ++line) {
    u64 i = 0;
    while (key[i] != 0 && line[i] == key[i]) ++i;
    if (key[i] != 0) continue;
    u64 number = 0;
    for (line += i; *line >= '0' && *line <= '9'; ++line)
      number = number * 10 + static_cast<u64>(*line - '0');
    return number;
  }
  return otherwise;
}

bool asked_for(const char* word) {
  const auto* line = reinterpret_cast<const char*>(info->cmd_line);
  while (*line != 0) {
    u64 i = 0;
    while (word[i] != 0 && line[i] == word[i]) ++i;
    if (word[i] == 0 && (line[i] == ' ' || line[i] == 0)) return true;
    while (*line != ' ' && *line != 0) ++line;
    while (*line == ' ') ++line;
  }
  return false;
}

}  // namespace kit

extern "C" [[noreturn]] void kit_main(start_info_t* start_info) {
  kit::info = start_info;
  // Ticks would disturb guests that count events.
  kit::hypercall(__HYPERVISOR_vcpu_op, VCPUOP_stop_periodic_timer, 0, nullptr);
  test();
  kit::finish();
}

// The compiler may replace loops by calls of these.
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
