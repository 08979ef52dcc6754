// Debug registers, and what a #DB was about.
#pragma once

#include "kit/kit.hpp"

namespace debug {

using namespace kit;

inline constexpr u64 dr6_initial = 0xffff0ff0, dr7_initial = 0x400;
inline constexpr u64 single_step = 1 << 14;
inline constexpr u64 trap_flag = 1 << 8, resume_flag = 1 << 16;
inline constexpr u64 db_vector = 1;

/// DR7's fields.
enum Type : u64 { on_fetch = 0, on_write = 1, on_ports = 2, on_access = 3 };
constexpr u64 local(u64 n) { return 1UL << (2 * n); }
constexpr u64 global(u64 n) { return 2UL << (2 * n); }
/// `length`: 1, 2, 4 or 8.
constexpr u64 kind(u64 n, Type type, u64 length) {
  const u64 code = length == 8 ? 2 : length - 1;
  return (type | code << 2) << (16 + 4 * n);
}
constexpr u64 watch(u64 n, Type type, u64 length) { return local(n) | kind(n, type, length); }

inline long set_register(u64 n, u64 value) { return hypercall(__HYPERVISOR_set_debugreg, n, value); }
inline long get_register(u64 n) { return hypercall(__HYPERVISOR_get_debugreg, n); }

/// What the #DBs since forget() were.
struct Hits {
  u64 count = 0;
  u64 causes = 0;  ///< B0 to B3, BS and so on, of the last one.
  Frame last;
};
inline Hits hits;
inline bool clears_status = true;   ///< The handler clears DR6.
inline bool resumes_fetch = false;  ///< The handler sets RF, which lets the instruction run.

inline void note(Frame& frame) {
  if (frame.vector != db_vector) {
    say("FAILED: trap ", static_cast<long>(frame.vector), " at ", hex(frame.rip));
    CHECK_EQ(frame.vector, db_vector);
    finish();
  }
  ++hits.count;
  hits.last = frame;
  hits.causes = (static_cast<u64>(get_register(6)) ^ dr6_initial) & 0xe00f;
  if (clears_status) set_register(6, dr6_initial);
  frame.rflags &= ~trap_flag;
  if (resumes_fetch) frame.rflags |= resume_flag;
}

inline void forget() { hits = Hits{}; }

/// Watches `address` by DR`n`.
inline void arm(u64 n, u64 address, Type type, u64 length) {
  CHECK_EQ(set_register(n, address), 0);
  CHECK_EQ(set_register(7, watch(n, type, length)), 0);
}
/// Does a breakpoint stop the guest here? With `maybe` on the command line it need not: there are hosts whose
/// KVM does not load debug registers.
inline bool they_act() {
  static u64 watched;
  arm(0, word(&watched), on_write, 8);
  forget();
  asm volatile("movq $1, %0\n nop" : "=m"(watched));
  CHECK_EQ(set_register(7, 0), 0);
  if (hits.count == 0 && asked_for("maybe")) return false;
  CHECK_EQ(hits.count, 1);
  return true;
}

inline void disarm() { CHECK_EQ(set_register(7, 0), 0); }

}  // namespace debug
