// mmu_update, mmuext_op and update_va_mapping: requests are fetched by value and go to the validator one by
// one.
//
// When a list has used up the exit's budget, it is interrupted between two requests or within one: the guest
// makes the same hypercall again for the rest, and may take events before that. If all requests are answered
// but tables are still to be released, the guest makes a hypercall again that has no requests and only
// returns the result.
#include <spdlog/spdlog.h>
#include <cstdint>

#include <xen/xen.h>

#include <bit>
#include <optional>

#include "vmm/domain.hpp"
#include "vmm/hypercalls/hypercalls.hpp"

namespace pinfold::vmm::hypercalls {
namespace {

constexpr std::size_t requests_a_fetch = 32;
/// Fewer requests than this are done with the lock held alone: to release it and take it again costs as much
/// as they do.
constexpr std::size_t worth_sharing = 8;
/// Set in the count of a restarted list: the value in *done counts requests of the same list (a bit that the
/// ABI keeps for the hypervisor).
constexpr std::uint64_t preempted_flag = 1ULL << 31;

/// The list of requests of one hypercall: `ptr`, `count`, and where to store the number of requests done.
struct List {
  GuestVaddr requests;
  std::uint64_t count = 0;
  GuestVaddr done_count;
  bool preempted = false;

  explicit List(const Hypercall& call)
      : requests(call.pointer(0)),
        count(call.args[1] & ~preempted_flag & 0xffffffff),
        done_count(call.pointer(2)),
        preempted((call.args[1] & preempted_flag) != 0) {}
};

/// Checks whose frames and tables the requests name. A domain may name its own only (xen/xen.h, foreigndom).
Status check_foreign(Domain& domain, std::uint64_t foreign) {
  const std::uint64_t frames_of = foreign & 0xffff;
  const std::uint64_t tables_of = foreign >> 16 & 0xffff;
  // The ABI names the owner of the tables by its number plus 1, never by DOMID_SELF; and the owner of the
  // frames never by the caller's own number.
  if (tables_of != 0 && tables_of - 1 != domain.mmu().domain().raw()) return fail(Errno::esrch);
  if (frames_of == DOMID_SELF || frames_of == DOMID_IO) return {};
  return fail(frames_of == DOMID_XEN ? Errno::eperm : Errno::esrch);
}

/// Result of a request that is not finished. The guest does not see it: it makes the request again.
constexpr std::int64_t unfinished = to_rax(Errno::erestart);

/// Checks an entry whose frame would belong to DOMID_IO, which is I/O memory: this machine has none. So a
/// present entry of an L1 is refused, and so is every entry of an upper table, since these name the caller's
/// own tables only. Values for a frame that is no table are not checked.
Status check_io_entry(const pvmmu::Validator& mmu, Mfn table, pvmmu::Pte want) {
  if (!mmu.owns(table)) return {};
  const pvmmu::Frame frame = mmu.frame(table);
  if (frame.type_count == 0 || !pvmmu::is_table(frame.type)) return {};
  if (frame.type != pvmmu::FrameType::l1) return fail(Errno::einval);
  return want.present() ? Status(fail(Errno::eperm)) : Status();
}

std::int64_t answer(const pvmmu::Verdict<>& verdict) {
  if (verdict) return 0;
  if (verdict.error().error() == Errno::erestart) return unfinished;
  SPDLOG_DEBUG("refused: {}", verdict.error().describe());
  return to_rax(verdict.error().error());
}

/// All requests are done; only the result remains, in argument 4. A guest that forges this gets its own
/// number back.
void leave_answer(Hypercall& call, std::int64_t result) {
  call.args[0] = 0;
  call.args[1] = preempted_flag;
  call.args[3] = static_cast<std::uint32_t>(result);
  call.completion = Completion::restart;
}

/// Finishes the releases that earlier lists left. Returns the result if there is nothing else to do: the
/// releases are not finished, or the list has no requests left. Returns nothing if this is a list to be
/// worked on.
std::optional<std::int64_t> earlier_answer(Domain& domain, Hypercall& call) {
  if (!domain.mmu().finish_releases(*call.held)) {
    call.completion = Completion::restart;
    return 0;
  }
  if (call.args[0] != 0 || call.args[1] != preempted_flag) return std::nullopt;
  return static_cast<std::int32_t>(call.args[3]);
}

/// Does the requests of a list. Fetches up to 32 at a time and passes them to `many`, which does leading ones
/// and returns how many; calls `one` for each of the others. Stops at the first failure, when the exit's
/// budget is used up, or at the end of the list.
template <class Request, class Many, class One>
std::int64_t work_off(Domain& domain, GuestCpu& cpu, Hypercall& call, Many&& many, One&& one) {
  pvmmu::Held held = *call.held;
  const List list(call);
  if (!is_guests(list.requests)) return to_rax(Errno::efault);
  std::uint64_t before = 0;
  if (list.preempted && list.done_count.raw() != 0)
    before = call.memory.fetch<std::uint32_t>(list.done_count).value_or(0);
  const std::uint64_t most = std::max<std::uint64_t>(call.budget->left() / pvmmu::cost::request, 1);
  std::uint64_t done = 0;
  std::int64_t result = 0;
  std::array<Request, requests_a_fetch> fetched;
  std::size_t available = 0, next = 0;
  while (result == 0 && done < list.count && done < most && !call.has_done_enough()) {
    if (next == available) {
      available = static_cast<std::size_t>(std::min<std::uint64_t>(requests_a_fetch, list.count - done));
      const GuestVaddr from = list.requests.plus(done * sizeof(Request));
      next = 0;
      if (!call.memory.read(from, std::as_writable_bytes(std::span(fetched).first(available)))) {
        // The block can't be read: only the next request has to be readable.
        available = 1;
        if (!call.memory.read(from, std::as_writable_bytes(std::span(fetched).first(1)))) {
          result = to_rax(Errno::efault);
          break;
        }
      }
      next = many(std::span(std::as_const(fetched)).first(available));
      done += next;
      if (next == available) continue;
    }
    result = one(fetched[next++]);
    if (result == 0) ++done;
  }
  call.spend((done + 1) * pvmmu::cost::request);
  if (domain.mmu().take_flush_duty()) domain.flushes().flush_all(cpu.id());
  domain.mmu_operation(held);
  const bool refused = result != 0 && result != unfinished;
  domain.mmu_outcome(held, cpu, !refused || done != 0);
  // As on Xen, a count that can't be stored changes neither what was done nor the result.
  if (list.done_count.raw() != 0)
    (void)call.memory.store(list.done_count, static_cast<std::uint32_t>(before + done));
  if (!refused && done < list.count) {
    call.args[0] = list.requests.plus(done * sizeof(Request)).raw();
    call.args[1] = (list.count - done) | preempted_flag;
    call.completion = Completion::restart;
  } else if (!domain.mmu().finish_releases(held)) {
    leave_answer(call, result);
  }
  return result;
}

std::int64_t update_one(Domain& domain, pvmmu::Held held, const mmu_update_t& request,
                        std::uint64_t foreign) {
  const bool own_frames = (foreign & 0xffff) == DOMID_SELF;
  pvmmu::Validator& mmu = domain.mmu();
  ++domain.statistics().mmu_updates;
  const std::uint64_t command = request.ptr & 7;
  const MachineAddr where(request.ptr & ~7ULL);
  switch (command) {
    case MMU_NORMAL_PT_UPDATE:
    case MMU_PT_UPDATE_PRESERVE_AD:
    case MMU_PT_UPDATE_NO_TRANSLATE:
      if (!own_frames)
        if (auto refused = check_io_entry(mmu, frame_of(where), pvmmu::Pte(request.val)); !refused)
          return to_rax(refused);
      return answer(mmu.update(held, where, pvmmu::Pte(request.val),
                               command == MMU_PT_UPDATE_PRESERVE_AD ? pvmmu::Preserve::accessed_and_dirty
                                                                    : pvmmu::Preserve::nothing));
    case MMU_MACHPHYS_UPDATE:
      if (!own_frames) return to_rax(Errno::einval);  // no frame of this machine is DOMID_IO's
      return answer(mmu.set_machphys(held, frame_of(where), Pfn(request.val)));
    default: return to_rax(Errno::enosys);
  }
}

/// Does the leading requests that are plain updates of L1 entries while the lock is shared, if another thread
/// waits for it. Returns their count; pass the next request to update_one().
std::size_t update_concurrently(Domain& domain, GuestCpu& cpu, pvmmu::DomainLock& lock,
                                std::span<const mmu_update_t> requests) {
  if (cpu.sharer() == nullptr || !domain.mutex().is_wanted()) return 0;
  std::array<pvmmu::EntryUpdate, requests_a_fetch> wanted;
  std::size_t count = 0;
  for (const mmu_update_t& request : requests) {
    if ((request.ptr & 7) != MMU_NORMAL_PT_UPDATE) break;
    wanted[count++] = {MachineAddr(request.ptr), pvmmu::Pte(request.val)};
  }
  if (count < worth_sharing) return 0;
  pvmmu::Validator& mmu = domain.mmu();
  pvmmu::MmuCounters counters;
  std::size_t done = 0;
  // A flush is due: make it now. Once the lock is free another vCPU might take over this duty, and this vCPU
  // would go on before the vCPUs in the guest have flushed.
  if (mmu.take_flush_duty()) domain.flushes().flush_all(cpu.id());
  const pvmmu::Budget left = mmu.budget(lock);
  lock.unlock();
  {
    const pvmmu::DomainShare share(*cpu.sharer());
    done = mmu.update_concurrently(share, counters, std::span(wanted).first(count));
  }
  lock.lock();
  // Other vCPUs answered hypercalls meanwhile, with budgets of their own.
  mmu.set_budget(lock, left);
  mmu.count(lock, counters);
  domain.statistics().mmu_updates += done;
  domain.statistics().concurrent_mmu_updates += done;
  return done;
}

/// Flushes the vCPUs of a bitmap in guest memory, which has one word for each 64 vCPUs.
Status flush_masked(Domain& domain, GuestCpu& cpu, GuestMemory& memory, GuestVaddr bitmap) {
  std::array<std::uint64_t, gate::max_cpus / 64> words{};
  const std::size_t count = (domain.vcpu_count() + 63) / 64;
  if (!memory.read(bitmap, std::as_writable_bytes(std::span(words).first(count)))) return fail(Errno::einval);
  for (std::uint32_t i = 0; i < domain.vcpu_count(); ++i)
    if ((words[i / 64] >> (i % 64) & 1) != 0) domain.flushes().flush(cpu.id(), VcpuId(i));
  return {};
}

std::int64_t extended_one(Domain& domain, GuestCpu& cpu, pvmmu::Held held, GuestMemory& memory,
                          const mmuext_op& op) {
  pvmmu::Validator& mmu = domain.mmu();
  if (op.cmd <= MMUEXT_UNMARK_SUPER) ++domain.statistics().mmuext_operations[op.cmd];
  const Mfn mfn(op.arg1.mfn);
  switch (op.cmd) {
    case MMUEXT_PIN_L1_TABLE:
    case MMUEXT_PIN_L2_TABLE:
    case MMUEXT_PIN_L3_TABLE:
    case MMUEXT_PIN_L4_TABLE:
      return answer(mmu.pin(held, static_cast<pvmmu::Level>(op.cmd - MMUEXT_PIN_L1_TABLE + 1), mfn));
    case MMUEXT_UNPIN_TABLE: return answer(mmu.unpin(held, mfn));
    case MMUEXT_NEW_BASEPTR: return answer(cpu.load_kernel_root(held, mfn));
    case MMUEXT_NEW_USER_BASEPTR:
      if (mfn.raw() != 0) return answer(cpu.load_user_root(held, mfn));
      mmu.unload_root(held, cpu.state().user_root);
      return 0;
    case MMUEXT_TLB_FLUSH_LOCAL:
    case MMUEXT_INVLPG_LOCAL: domain.flushes().flush(cpu.id(), cpu.id()); return 0;
    case MMUEXT_TLB_FLUSH_MULTI:
    case MMUEXT_INVLPG_MULTI: {
      const GuestVaddr mask(std::bit_cast<std::uint64_t>(op.arg2.vcpumask.p));
      mmu.budget(held).spend(domain.vcpu_count());
      return to_rax(flush_masked(domain, cpu, memory, mask));
    }
    case MMUEXT_TLB_FLUSH_ALL:
    case MMUEXT_INVLPG_ALL:
      mmu.budget(held).spend(domain.vcpu_count());
      domain.flushes().flush_all(cpu.id());
      return 0;
    case MMUEXT_FLUSH_CACHE:
    case MMUEXT_FLUSH_CACHE_GLOBAL: return to_rax(Errno::eacces);
    case MMUEXT_SET_LDT:
      return to_rax(cpu.descriptors().set_ldt(held, GuestVaddr(op.arg1.linear_addr), op.arg2.nr_ents));
    case MMUEXT_CLEAR_PAGE: return answer(mmu.clear_page(held, mfn));
    case MMUEXT_COPY_PAGE: return answer(mmu.copy_page(held, mfn, Mfn(op.arg2.src_mfn)));
    case MMUEXT_MARK_SUPER:
    case MMUEXT_UNMARK_SUPER: return to_rax(Errno::eopnotsupp);
    default: return to_rax(Errno::enosys);
  }
}

std::int64_t update_va_mapping(Domain& domain, GuestCpu& cpu, pvmmu::Held held, Hypercall& call,
                               bool own_frames = true) {
  if (!own_frames && (call.args[1] & 1) != 0) return to_rax(Errno::eperm);
  if (!domain.mmu().finish_releases(held)) {
    call.completion = Completion::restart;
    return 0;
  }
  const auto updated =
      domain.mmu().update_va(held, cpu.state().kernel_root, call.pointer(0), pvmmu::Pte(call.args[1]));
  domain.mmu_operation(held);
  domain.mmu_outcome(held, cpu, updated.has_value());
  if (domain.mmu().take_flush_duty()) domain.flushes().flush_all(cpu.id());
  if (!updated) return answer(updated);
  const std::uint64_t flags = call.args[2];
  call.spend(domain.vcpu_count());
  if ((flags & UVMF_FLUSHTYPE_MASK) == UVMF_NONE) return 0;
  const std::uint64_t bitmap = flags & ~std::uint64_t{UVMF_FLUSHTYPE_MASK};
  if (bitmap == UVMF_ALL) {
    domain.flushes().flush_all(cpu.id());
  } else if (bitmap == UVMF_LOCAL) {
    domain.flushes().flush(cpu.id(), cpu.id());
  } else {
    // As on Xen, the new entry stays when the mask can't be read.
    if (const auto flushed = flush_masked(domain, cpu, call.memory, GuestVaddr(bitmap)); !flushed)
      return to_rax(Errno::efault);
  }
  return 0;
}

}  // namespace

void register_mmu(Domain& domain) {
  HypercallTable& table = domain.hypercalls();
  table.set(__HYPERVISOR_mmu_update, "mmu_update", [&domain](Hypercall& call) -> std::int64_t {
    GuestCpu& cpu = domain.cpu(call.vcpu);
    if (const auto result = earlier_answer(domain, call)) return *result;
    if (auto own = check_foreign(domain, call.args[3]); !own) return to_rax(own);
    const bool own_frames = (call.args[3] & 0xffff) == DOMID_SELF;
    return work_off<mmu_update_t>(
        domain, cpu, call,
        [&](std::span<const mmu_update_t> requests) {
          return own_frames ? update_concurrently(domain, cpu, *call.held, requests) : 0;
        },
        [&](const mmu_update_t& request) { return update_one(domain, *call.held, request, call.args[3]); });
  });
  table.set(__HYPERVISOR_mmuext_op, "mmuext_op", [&domain](Hypercall& call) -> std::int64_t {
    GuestCpu& cpu = domain.cpu(call.vcpu);
    if (const auto result = earlier_answer(domain, call)) return *result;
    const std::uint64_t frames_of = call.args[3] & 0xffff;
    if (frames_of == DOMID_IO || frames_of == DOMID_XEN) return to_rax(Errno::eperm);
    if (frames_of != DOMID_SELF) return to_rax(Errno::esrch);
    return work_off<mmuext_op>(
        domain, cpu, call, [](std::span<const mmuext_op>) { return std::size_t{0}; },
        [&](const mmuext_op& op) { return extended_one(domain, cpu, *call.held, call.memory, op); });
  });
  table.set(__HYPERVISOR_update_va_mapping, "update_va_mapping", [&domain](Hypercall& call) -> std::int64_t {
    return update_va_mapping(domain, domain.cpu(call.vcpu), *call.held, call);
  });
  table.set(__HYPERVISOR_update_va_mapping_otherdomain, "update_va_mapping_otherdomain",
            [&domain](Hypercall& call) -> std::int64_t {
              const std::uint64_t frames_of = call.args[3] & 0xffff;
              if (auto own = check_foreign(domain, frames_of); !own) return to_rax(own);
              return update_va_mapping(domain, domain.cpu(call.vcpu), *call.held, call,
                                       frames_of == DOMID_SELF);
            });
}

}  // namespace pinfold::vmm::hypercalls
