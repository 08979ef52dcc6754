#include "cli/control/requests.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <map>

#include "cli/control/counters.hpp"
#include "cli/control/domain_queries.hpp"
#include "cli/control/toolstack_requests.hpp"

namespace pinfold::cli {
namespace {

const char* name_of(vmm::RunState state) {
  switch (state) {
    case vmm::RunState::running: return "running";
    case vmm::RunState::runnable: return "runnable";
    case vmm::RunState::blocked: return "blocked";
    case vmm::RunState::offline: break;
  }
  return "offline";
}

const char* state_of(vmm::GuestCpu& cpu) {
  return cpu.stops().is_stopped() && cpu.state().up ? "stopped" : name_of(cpu.run_state().state());
}

Json describe(vmm::GuestCpu& cpu) {
  const vmm::CpuState& s = cpu.state();
  Json vcpu{{"vcpu", cpu.id().raw()}, {"up", s.up}, {"mode", s.kernel_mode ? "kernel" : "user"}};
  vcpu["state"] = state_of(cpu);
  vcpu["kernel_root"] = s.kernel_root == no_mfn ? Json() : Json(s.kernel_root.raw());
  vcpu["user_root"] = s.user_root == no_mfn ? Json() : Json(s.user_root.raw());
  return vcpu;
}

/// The first vCPU that is stopped and does not rest yet; the number of vCPUs if there is none.
std::uint32_t first_running(vmm::Domain& domain) {
  std::uint32_t i = 0;
  for (; i < domain.vcpu_count(); ++i) {
    const vmm::StopControl& stops = domain.cpu(VcpuId(i)).stops();
    if (stops.is_stopped() && !stops.at_rest()) break;
  }
  return i;
}

const char* name_of(vmm::Ending ending) {
  switch (ending) {
    case vmm::Ending::none: break;
    case vmm::Ending::power_off: return "poweroff";
    case vmm::Ending::reboot: return "reboot";
    case vmm::Ending::suspend: return "suspend";
    case vmm::Ending::crash: return "crash";
    case vmm::Ending::watchdog: return "watchdog";
    case vmm::Ending::isolation_fault: return "isolation-fault";
    case vmm::Ending::left: return "left";
    case vmm::Ending::host_failure: return "host-failure";
  }
  return "";
}

/// Seconds of all threads of this process. The guest's are most of them.
double processor_time() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  constexpr double ns = 1e-9;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * ns;
}

}  // namespace

std::string GuestControl::answer(std::string_view line, Descriptors descriptors) {
  const auto request = decode_request(line);
  if (!request) return encode_answer(tl::unexpected(request.error()));
  if (!descriptors.empty() && request->command != "join" && !DeviceRequests::takes_descriptors(*request))
    return encode_answer(tl::unexpected(request->command + " takes no file descriptors"));
  return encode_answer(carry_out(*request, descriptors));
}

tl::expected<Json, std::string> GuestControl::carry_out(const Request& request, Descriptors& descriptors) {
  const Json& arguments = request.arguments;
  if (request.command == "status") return status();
  if (request.command == "metrics") return metrics();
  if (request.command == "tables") return query_tables(domain_, grants_);
  if (request.command == "frame") {
    const auto frame = number_in(arguments, "frame");
    if (!frame) return tl::unexpected(frame.error());
    return query_frame(domain_, grants_, Mfn(*frame));
  }
  if (request.command == "walk") {
    const auto address = address_in(arguments, "address");
    if (!address) return tl::unexpected(address.error());
    const auto vcpu = number_in(arguments, "vcpu");
    if (!vcpu || !domain_.has_cpu(*vcpu)) return tl::unexpected(std::string("no vCPU of that number"));
    const bool user = arguments.contains("user") && arguments["user"] == true;
    return query_walk(domain_, VcpuId(static_cast<std::uint32_t>(*vcpu)), user, GuestVaddr(*address));
  }
  if (request.command == "destroy") return destroy();
  if (request.command == "join") return join(descriptors);
  if (domain_.ended())
    return tl::unexpected(std::string("the guest has ended; it can only be inspected or destroyed"));
  if (request.command == "pause") return set_paused(true);
  if (request.command == "unpause") return set_paused(false);
  if (auto answer = devices_.answer(request, descriptors)) return std::move(*answer);
  if (auto answer = request_of_guest(requests_, domain_.vcpu_count(), request)) return std::move(*answer);
  return tl::unexpected("unknown command: " + request.command);
}

/// Both processes end soon after the answer.
tl::expected<Json, std::string> GuestControl::destroy() {
  domain_.end(vmm::Ending::left, "destroyed by a command");
  if (on_destroy_) on_destroy_();
  return Json{{"state", "ending"}};
}

tl::expected<Json, std::string> GuestControl::join(Descriptors& descriptors) {
  if (descriptors.size() != 1 || !join_) return tl::unexpected(std::string("join takes a socket"));
  const auto domain = join_(std::move(descriptors.front()));
  if (!domain) return tl::unexpected(domain.error());
  return Json{{"domain", *domain}, {"monitor", ::getpid()}};
}

const char* GuestControl::state() {
  if (domain_.ended()) return preserved_ ? "preserved" : "ending";
  if (!domain_.cpu(VcpuId(0)).stops().is_stopped_by(vmm::StopReason::user)) return "running";
  return first_running(domain_) == domain_.vcpu_count() ? "paused" : "pausing";
}

/// How the guest ended; null: it has not.
Json GuestControl::end() {
  if (!domain_.ended()) return {};
  const vmm::End end = domain_.ending().result();
  return {{"kind", name_of(end.ending)}, {"why", end.why}};
}

Json GuestControl::status() {
  Json devices = devices_.counts();
  const pvmmu::DomainLock lock(domain_.mutex());
  const auto running_for = std::chrono::steady_clock::now() - start_;
  const pvmmu::MmuCounters& mmu = domain_.mmu().counters();
  Json vcpus = Json::array();
  for (std::uint32_t i = 0; i < domain_.vcpu_count(); ++i) vcpus.push_back(describe(domain_.cpu(VcpuId(i))));
  return {{"name", name_},
          {"uuid", domain_.config().uuid.text()},
          {"pid", ::getppid()},
          {"monitor", ::getpid()},
          {"state", state()},
          {"end", end()},
          {"seconds", std::chrono::duration<double>(running_for).count()},
          {"cpu_seconds", processor_time()},
          {"shutdown_pending", requests_.is_shutdown_pending()},
          {"domain", domain_.id().raw()},
          {"frames", domain_.mmu().allocated_frames()},
          {"vcpus", std::move(vcpus)},
          {"devices", std::move(devices)},
          {"exits", domain_.statistics().total_exits()},
          {"tables", domain_.mmu().mirrors().in_use()},
          {"entries_checked", mmu.entries_checked},
          {"entries_refused", mmu.entries_refused}};
}

/// What the command metrics asks for: numbers, and two words of which there are a few.
Json GuestControl::metrics() {
  Json devices = devices_.counts();
  const pvmmu::DomainLock lock(domain_.mutex());
  const std::chrono::duration<double> running_for = std::chrono::steady_clock::now() - start_;
  std::map<std::string, std::uint32_t> vcpus;
  for (std::uint32_t i = 0; i < domain_.vcpu_count(); ++i) ++vcpus[state_of(domain_.cpu(VcpuId(i)))];
  Json all{{"state", state()},
           {"domain", domain_.id().raw()},
           {"seconds", running_for.count()},
           {"cpu_seconds", processor_time()},
           {"frames", domain_.mmu().allocated_frames()},
           {"most_frames", domain_.memory_limit().most()},
           {"vcpus", vcpus},
           {"devices", std::move(devices)}};
  all.update(counters_of(lock, domain_));
  return all;
}

/// After the answer to "pause" no vCPU runs guest code until "unpause".
tl::expected<Json, std::string> GuestControl::set_paused(bool paused) {
  constexpr std::chrono::seconds patience(5);
  pvmmu::DomainLock lock(domain_.mutex());
  if (!paused) {
    domain_.go_on(lock, vmm::StopReason::user);
    return Json{{"state", "running"}};
  }
  domain_.stop(lock, vmm::StopReason::user);
  if (domain_.wait_until_stopped(lock, patience)) return Json{{"state", "paused"}};
  return tl::unexpected(
      fmt::format("vCPU {} has not come out of the guest for {} s; the guest stays to be paused",
                  first_running(domain_), patience.count()));
}

}  // namespace pinfold::cli
