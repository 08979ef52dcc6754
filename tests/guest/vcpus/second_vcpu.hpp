// A second vCPU for a test guest: a stack, and a context that starts a function on it.
#pragma once

#include <xen/vcpu.h>

#include "kit/kit.hpp"

namespace kit {

/// The context of kernel mode on the initial tables, for a vCPU. `entry` must not return.
template <u64 vcpu = 1>
vcpu_guest_context_t& context_of(void (*entry)()) {
  static vcpu_guest_context_t context;
  static Page stack[2];
  context = {};
  context.flags = VGCF_in_kernel;
  context.user_regs.rip = word(entry);
  // Like after a call: 8 bytes off the alignment.
  context.user_regs.rsp = word(stack + 2) - 8;
  context.user_regs.cs = FLAT_RING3_CS64;
  context.user_regs.ss = FLAT_RING3_SS64;
  context.kernel_ss = FLAT_RING3_SS64;
  context.kernel_sp = word(stack + 2);
  context.ctrlreg[3] = mfn_of(reinterpret_cast<void*>(info->pt_base)) * page_size;
  return context;
}

/// Waits until the other vCPU has added to its counter so often. False: it does not go on.
inline bool goes_on(const u64& counter, u64 times) {
  const u64 limit = now_ns() + 20'000'000'000;
  const u64 before = __atomic_load_n(&counter, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&counter, __ATOMIC_SEQ_CST) < before + times)
    if (now_ns() > limit) return false;
  return true;
}

inline long vcpu_op(u64 operation, u64 vcpu, void* argument = nullptr) {
  return hypercall(__HYPERVISOR_vcpu_op, operation, vcpu, argument);
}

}  // namespace kit
