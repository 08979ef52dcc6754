#include "cli/networks/vif_script.hpp"

#include <fmt/format.h>

namespace pinfold::cli {

ChildPlan script_plan(const VifOfGuest& vif, VifScriptCall call) {
  const VifConfig& config = vif.config;
  const std::string script =
      config.script.find('/') == std::string::npos ? "/etc/xen/scripts/" + config.script : config.script;
  ChildPlan plan;
  plan.words = {script, call == VifScriptCall::online ? "online" : "offline", "type_if=vif"};
  plan.environment = {
      {"script", script},
      {"XENBUS_TYPE", "vif"},
      {"XENBUS_PATH", fmt::format("/local/domain/0/backend/vif/{}/{}", vif.domain, vif.index)},
      {"XENBUS_BASE_PATH", "backend"},
      {"vif", vif.device},
      {"bridge", config.bridge},
      {"mac", config.mac},
      {"ip", fmt::format("{}", fmt::join(config.addresses, " "))}};
  if (config.mtu) plan.environment.emplace_back("mtu", std::to_string(*config.mtu));
  if (!config.gateway_device.empty()) plan.environment.emplace_back("netdev", config.gateway_device);
  return plan;
}

tl::expected<void, std::string> run_script(const VifOfGuest& vif, VifScriptCall call, int most_seconds) {
  const ChildPlan plan = script_plan(vif, call);
  auto script = Child::start(plan);
  if (!script) return tl::unexpected(script.error());
  const auto status = script->wait(most_seconds * 1000);
  if (!status)
    return tl::unexpected(
        fmt::format("{} {} did not end within {} s", plan.words[0], plan.words[1], most_seconds));
  if (*status == 0) return {};
  const std::string said = script->last_line();
  return tl::unexpected(fmt::format("{} {} {}{}{}", plan.words[0], plan.words[1], how_it_ended(*status),
                                    said.empty() ? "" : ": ", said));
}

}  // namespace pinfold::cli
