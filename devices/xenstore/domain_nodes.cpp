#include "devices/xenstore/domain_nodes.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace pinfold::devices::xenstore {
namespace {

/// domain 0's, for one domain to read.
Permissions read_only_for(DomId domain) {
  return Permissions(std::vector<Permission>{{DomId(0)}, {domain, true, false}});
}

Status write_nodes(Store& store, const DomainNodes& nodes) {
  const auto text = [](auto number) { return std::to_string(number); };
  std::vector<std::pair<std::string, std::string>> readable = {
      {"vm", "/vm/" + nodes.uuid},
      {"name", nodes.name},
      {"domid", text(nodes.domain.raw())},
      {"memory", ""},
      {"memory/static-max", text(std::max(nodes.max_memory_kib, nodes.memory_kib))},
      {"memory/target", text(nodes.memory_kib)},
      {"console", ""},
      {"console/ring-ref", text(nodes.console_ring.raw())},
      {"console/port", text(nodes.console_port.raw())},
      {"console/type", "pinfold"},
      {"console/limit", "1048576"},
      {"store", ""},
      {"store/ring-ref", text(nodes.store_ring.raw())},
      {"store/port", text(nodes.store_port.raw())},
      {"control", ""},
      {"control/platform-feature-multiprocessor-suspend", "0"},
      {"control/platform-feature-xs_reset_watches", "1"},
      {"device", ""},
      {"cpu", ""},
  };
  for (std::uint32_t v = 0; v < std::max(nodes.max_vcpus, nodes.vcpus); ++v) {
    readable.emplace_back("cpu/" + text(v), "");
    readable.emplace_back("cpu/" + text(v) + "/availability", v < nodes.vcpus ? "online" : "offline");
  }
  const std::array<const char*, 10> writable = {"control/shutdown",
                                                "control/feature-suspend",
                                                "control/sysrq",
                                                "control/feature-poweroff",
                                                "control/feature-reboot",
                                                "data",
                                                "drivers",
                                                "feature",
                                                "attr",
                                                "error"};

  // Relative paths are the domain's.
  const auto put = [&](std::string_view path, const std::string& value, const Permissions& who) -> Status {
    const auto parsed = Path::parse(path, nodes.domain);
    if (!parsed) return fail(parsed.error());
    return store.write(*parsed, value, who);
  };
  const Permissions visible = read_only_for(nodes.domain);
  if (auto done = store.write(Path::of_domain(nodes.domain), "", visible); !done) return done;
  for (const auto& [path, value] : readable) {
    if (auto done = put(path, value, visible); !done) return done;
  }
  for (const char* path : writable) {
    if (auto done = put(path, "", Permissions(nodes.domain)); !done) return done;
  }
  const std::string vm = "/vm/" + nodes.uuid;
  if (auto done = put(vm, "", visible); !done) return done;
  if (auto done = put(vm + "/uuid", nodes.uuid, visible); !done) return done;
  return put(vm + "/name", nodes.name, visible);
}

}  // namespace

Status populate(Store& store, const DomainNodes& nodes) {
  if (nodes.uuid.empty()) return fail(Errno::einval);
  const auto vm = Path::parse("/vm/" + nodes.uuid, nodes.domain);
  if (!vm) return fail(vm.error());
  if (store.read(*vm)) return fail(Errno::eexist);
  auto done = write_nodes(store, nodes);
  if (!done) remove_nodes(store, nodes);
  return done;
}

void remove_nodes(Store& store, const DomainNodes& nodes) {
  (void)store.remove(Path::of_domain(nodes.domain));
  if (const auto vm = Path::parse("/vm/" + nodes.uuid, nodes.domain); vm && !nodes.uuid.empty())
    (void)store.remove(*vm);
}

}  // namespace pinfold::devices::xenstore
