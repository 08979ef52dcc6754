// sched_op, vcpu_op and set_timer_op: when a vCPU runs, sleeps, and is woken by its timers (xen/sched.h,
// xen/vcpu.h).
#include <cstdint>

#include <xen/sched.h>
#include <xen/vcpu.h>
#include <xen/xen.h>

#include <bit>

#include "vmm/domain.hpp"
#include "vmm/hypercalls/hypercalls.hpp"
#include "vmm/vcpu_info.hpp"

namespace pinfold::vmm::hypercalls {
namespace {

constexpr std::uint32_t max_polled_ports = 128;
constexpr std::uint64_t shortest_period_ns = 1'000'000;
constexpr std::uint64_t longest_timer_ns = 1ULL << 50;

Ending ending_of(std::uint32_t reason) {
  switch (reason) {
    case SHUTDOWN_poweroff: return Ending::power_off;
    case SHUTDOWN_reboot:
    case SHUTDOWN_soft_reset: return Ending::reboot;
    case SHUTDOWN_suspend: return Ending::suspend;
    case SHUTDOWN_watchdog: return Ending::watchdog;
    default: return Ending::crash;
  }
}

std::int64_t shut_down(Domain& domain, Hypercall& call) {
  const auto request = call.memory.fetch<sched_shutdown>(call.pointer(1));
  if (!request) return to_rax(Errno::efault);
  const std::uint32_t reason = domain.shutdown_code().value_or(request->reason & 0xff);
  const Ending ending = ending_of(reason);
  static constexpr std::array<const char*, 6> words{"powered off",           "asked for a reboot",
                                                    "asked to be suspended", "reported a crash",
                                                    "watchdog fired",        "asked for a soft reset"};
  std::string why = std::string("the guest ") + (reason < words.size() ? words[reason] : "shut down");
  if (ending == Ending::crash) why += "\n" + domain.cpu(call.vcpu).describe(*call.held);
  domain.end(ending, why);
  return 0;
}

/// The reason of the shutdown that is to come, whatever that says then. The first one stays.
std::int64_t set_shutdown_code(Domain& domain, Hypercall& call) {
  const auto request = call.memory.fetch<sched_shutdown>(call.pointer(1));
  if (!request) return to_rax(Errno::efault);
  auto& code = domain.shutdown_code();
  if (!code) code = request->reason & 0xff;
  return 0;
}

std::int64_t poll(Domain& domain, Hypercall& call) {
  const auto request = call.memory.fetch<sched_poll>(call.pointer(1));
  if (!request) return to_rax(Errno::efault);
  if (request->nr_ports > max_polled_ports) return to_rax(Errno::einval);
  call.spend(request->nr_ports);
  std::vector<Port> ports;
  const GuestVaddr list(std::bit_cast<std::uint64_t>(request->ports.p));
  for (std::uint32_t i = 0; i < request->nr_ports; ++i) {
    const auto port = call.memory.fetch<std::uint32_t>(list.plus(i * sizeof(std::uint32_t)));
    if (!port) return to_rax(Errno::efault);
    if (!domain.events()->is_valid(Port(*port))) return to_rax(Errno::einval);
    ports.emplace_back(*port);
  }
  domain.cpu(call.vcpu).sleep().request_poll(std::move(ports), request->timeout);
  return 0;
}

std::int64_t watchdog(Domain& domain, Hypercall& call) {
  const auto request = call.memory.fetch<sched_watchdog>(call.pointer(1));
  if (!request) return to_rax(Errno::efault);
  const auto answer = domain.watchdog().request(request->id, request->timeout);
  return answer ? std::int64_t{*answer} : to_rax(answer.error());
}

std::int64_t sched_op(Domain& domain, Hypercall& call) {
  GuestCpu& cpu = domain.cpu(call.vcpu);
  switch (call.args[0]) {
    case SCHEDOP_yield: cpu.sleep().request_yield(); return 0;
    case SCHEDOP_block:
      domain.info_of(call.vcpu).set_upcall_mask(false);
      cpu.sleep().request_block();
      return 0;
    case SCHEDOP_shutdown: return shut_down(domain, call);
    case SCHEDOP_poll: return poll(domain, call);
    case SCHEDOP_shutdown_code: return set_shutdown_code(domain, call);
    case SCHEDOP_watchdog: return watchdog(domain, call);
    case SCHEDOP_remote_shutdown:
    case SCHEDOP_pin_override: return to_rax(Errno::eperm);
    default: return to_rax(Errno::enosys);
  }
}

std::int64_t set_single_shot(Domain& domain, Hypercall& call) {
  const auto request = call.memory.fetch<vcpu_set_singleshot_timer>(call.pointer(2));
  if (!request) return to_rax(Errno::efault);
  const std::uint64_t deadline = request->timeout_abs_ns == 0 ? 1 : request->timeout_abs_ns;
  domain.cpu(call.vcpu).timers().set_one_shot(deadline, domain.clock().now());
  return 0;
}

std::int64_t register_info(Domain& domain, GuestCpu& cpu, Hypercall& call) {
  const auto request = call.memory.fetch<vcpu_register_vcpu_info>(call.pointer(2));
  if (!request) return to_rax(Errno::efault);
  if (cpu.state().info_registered) return to_rax(Errno::ebusy);
  if (cpu.id() != call.vcpu && cpu.state().up) return to_rax(Errno::einval);
  if (request->offset % 8 != 0 || request->offset > page_size - VcpuInfo::size) return to_rax(Errno::enxio);
  const Mfn mfn(request->mfn);
  if (!domain.mmu().owns(mfn)) return to_rax(Errno::einval);
  auto page = domain.holds().hold(*call.held, mfn);
  if (!page) return to_rax(Errno::eacces);
  cpu.state().info_registered = true;
  domain.set_vcpu_info(*call.held, cpu.id(), {mfn, std::move(*page)}, request->offset);
  domain.flushes().flush(call.vcpu, cpu.id());  // the vCPU's gate may still use the old page
  cpu.publish_time(*call.held);
  return 0;
}

std::int64_t run_state_of(Domain& domain, GuestCpu& cpu, Hypercall& call) {
  return to_rax(call.memory.store(call.pointer(2), run_state_info(cpu.run_state(), domain.clock().now())));
}

std::int64_t initialise(GuestCpu& cpu, Hypercall& call) {
  const auto context = call.memory.fetch<vcpu_guest_context>(call.pointer(2));
  if (!context) return to_rax(Errno::efault);
  if (cpu.state().initialised) return to_rax(Errno::eexist);
  call.spend((context->gdt_ents / pvmmu::entries_per_table + 1) * pvmmu::whole_table);
  const bool has_info = cpu.id().raw() < XEN_LEGACY_MAX_VCPUS || cpu.state().info_registered;
  if (!has_info) return to_rax(Errno::einval);
  const Status done = cpu.initialise(*call.held, *context);
  if (!done && done.error() == Errno::erestart) {
    call.completion = Completion::restart;
    return 0;
  }
  return to_rax(done);
}

std::int64_t take_down(Domain& domain, GuestCpu& cpu) {
  cpu.set_up(false);
  for (std::uint32_t i = 0; i < domain.vcpu_count(); ++i)
    if (domain.cpu(VcpuId(i)).state().up) return 0;
  domain.end(ending_of(domain.shutdown_code().value_or(SHUTDOWN_poweroff)),
             "the guest took its last vCPU down");
  return 0;
}

std::int64_t vcpu_op(Domain& domain, Hypercall& call) {
  if (!domain.has_cpu(call.args[1])) return to_rax(Errno::enoent);
  call.spend(domain.vcpu_count());
  GuestCpu& cpu = domain.cpu(VcpuId(static_cast<std::uint32_t>(call.args[1])));
  const bool self = cpu.id() == call.vcpu;
  switch (call.args[0]) {
    case VCPUOP_is_up: return cpu.state().up ? 1 : 0;
    case VCPUOP_initialise: return initialise(cpu, call);
    case VCPUOP_up:
      if (!cpu.state().initialised) return to_rax(Errno::einval);
      cpu.set_up(true);
      return 0;
    case VCPUOP_down: return take_down(domain, cpu);
    case VCPUOP_get_runstate_info: return run_state_of(domain, cpu, call);
    case VCPUOP_register_runstate_memory_area: {
      // The argument points to a struct that has the area's address (xen/vcpu.h: addr.v).
      const auto area = call.memory.fetch<std::uint64_t>(call.pointer(2));
      if (!area || !is_guests(GuestVaddr(*area))) return to_rax(Errno::efault);
      cpu.time_areas().set_run_state_area(GuestVaddr(*area));
      cpu.publish_run_state(*call.held);
      return 0;
    }
    case VCPUOP_register_vcpu_time_memory_area: {
      const auto area = call.memory.fetch<std::uint64_t>(call.pointer(2));
      if (!area || !is_guests(GuestVaddr(*area))) return to_rax(Errno::efault);
      cpu.time_areas().set_time_area(GuestVaddr(*area));
      cpu.publish_time(*call.held);
      return 0;
    }
    case VCPUOP_register_vcpu_info: return register_info(domain, cpu, call);
    case VCPUOP_set_periodic_timer: {
      const auto request = call.memory.fetch<vcpu_set_periodic_timer>(call.pointer(2));
      if (!request) return to_rax(Errno::efault);
      if (request->period_ns < shortest_period_ns || request->period_ns > longest_timer_ns)
        return to_rax(Errno::einval);
      cpu.timers().set_period(request->period_ns, domain.clock().now());
      return 0;
    }
    case VCPUOP_stop_periodic_timer: cpu.timers().set_period(0, domain.clock().now()); return 0;
    case VCPUOP_set_singleshot_timer: return self ? set_single_shot(domain, call) : to_rax(Errno::einval);
    case VCPUOP_stop_singleshot_timer:
      if (!self) return to_rax(Errno::einval);
      cpu.timers().set_one_shot(0, domain.clock().now());
      return 0;
    case VCPUOP_send_nmi:
      if (call.args[2] != 0) return to_rax(Errno::einval);
      cpu.send_nmi(*call.held);
      return 0;
    case VCPUOP_get_physid: return to_rax(Errno::einval);  // for domain 0's pinned vCPUs
    default: return to_rax(Errno::enosys);
  }
}

std::int64_t set_timer_op(Domain& domain, Hypercall& call) {
  const std::uint64_t deadline = call.args[0];
  const std::uint64_t now = domain.clock().now();
  // As on Xen, a deadline that makes no sense (negative, or two weeks away) fires after 100 ms, so that a
  // confused guest goes on.
  const bool odd =
      deadline != 0 && (static_cast<std::int64_t>(deadline) < 0 || deadline > now + longest_timer_ns);
  domain.cpu(call.vcpu).timers().set_one_shot(odd ? now + 100'000'000 : deadline, now);
  return 0;
}

}  // namespace

void register_scheduling(Domain& domain) {
  HypercallTable& table = domain.hypercalls();
  table.set(__HYPERVISOR_sched_op, "sched_op", [&domain](Hypercall& call) { return sched_op(domain, call); });
  table.set(__HYPERVISOR_vcpu_op, "vcpu_op", [&domain](Hypercall& call) { return vcpu_op(domain, call); });
  table.set(__HYPERVISOR_set_timer_op, "set_timer_op",
            [&domain](Hypercall& call) { return set_timer_op(domain, call); });
}

}  // namespace pinfold::vmm::hypercalls
