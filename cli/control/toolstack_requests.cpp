#include "cli/control/toolstack_requests.hpp"

#include <fmt/format.h>

#include <limits>
#include <map>

namespace pinfold::cli {
namespace {

using Result = tl::expected<Json, std::string>;
using devices::xenstore::ShutdownRequest;

Result wrong(std::string what) { return tl::unexpected(std::move(what)); }

Result answered(const GuestRequests::Answer& done, Json answer) {
  if (!done) return wrong(done.error());
  return answer;
}

Result shut_down(GuestRequests& requests, const Json& arguments) {
  static const std::map<std::string, ShutdownRequest> kinds{{"poweroff", ShutdownRequest::poweroff},
                                                            {"reboot", ShutdownRequest::reboot},
                                                            {"halt", ShutdownRequest::halt}};
  const auto kind = kinds.find(text_in(arguments, "kind"));
  if (kind == kinds.end()) return wrong("\"kind\" is poweroff, reboot or halt");
  return answered(requests.ask_shutdown(kind->second), {{"requested", kind->first}});
}

Result set_memory(GuestRequests& requests, const Json& arguments) {
  const auto kib = number_in(arguments, "kib");
  if (!kib) return wrong(kib.error());
  return answered(requests.set_memory_target(*kib), {{"target_kib", *kib}});
}

/// The first `count` vCPUs, as xl does.
Result set_vcpus(GuestRequests& requests, std::uint32_t vcpus, const Json& arguments) {
  const auto count = number_in(arguments, "count");
  if (!count) return wrong(count.error());
  if (*count == 0 || *count > vcpus) return wrong(fmt::format("the guest has 1 to {} vCPUs", vcpus));
  for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
    if (auto done = requests.set_vcpu_online(vcpu, vcpu < *count); !done) return wrong(done.error());
  return Json{{"vcpus", *count}};
}

Result press_sysrq(GuestRequests& requests, const Json& arguments) {
  const std::string key = text_in(arguments, "key");
  if (key.size() != 1) return wrong("a SysRq key is one letter or digit");
  return answered(requests.send_sysrq(key[0]), {{"key", key}});
}

Result pull_trigger(GuestRequests& requests, const Json& arguments) {
  if (text_in(arguments, "trigger") != "nmi") return wrong("\"trigger\" is nmi");
  const auto vcpu = number_in(arguments, "vcpu");
  if (!vcpu) return wrong(vcpu.error());
  if (*vcpu > std::numeric_limits<std::uint32_t>::max()) return wrong("no vCPU of that number");
  return answered(requests.trigger_nmi(static_cast<std::uint32_t>(*vcpu)), {{"vcpu", *vcpu}});
}

}  // namespace

std::optional<Result> request_of_guest(GuestRequests& requests, std::uint32_t vcpus, const Request& request) {
  const Json& arguments = request.arguments;
  if (request.command == "shutdown") return shut_down(requests, arguments);
  if (request.command == "mem-set") return set_memory(requests, arguments);
  if (request.command == "vcpu-set") return set_vcpus(requests, vcpus, arguments);
  if (request.command == "sysrq") return press_sysrq(requests, arguments);
  if (request.command == "trigger") return pull_trigger(requests, arguments);
  return std::nullopt;
}

}  // namespace pinfold::cli
