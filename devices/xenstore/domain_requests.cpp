#include "devices/xenstore/domain_requests.hpp"

#include <string>
#include <string_view>
#include <utility>

namespace pinfold::devices::xenstore {
namespace {

std::string_view word_for(ShutdownRequest request) {
  switch (request) {
    case ShutdownRequest::poweroff: return "poweroff";
    case ShutdownRequest::reboot: return "reboot";
    case ShutdownRequest::suspend: return "suspend";
    case ShutdownRequest::halt: return "halt";
  }
  return "";
}

Path control_node(DomId domain, std::string_view name) {
  return Path::of_domain(domain).child("control").child(name);
}

/// Writes a node that the guest answers in. The guest owns it and may have removed it: then it is made again
/// as the guest's, else the guest could not answer.
Status write_for_answer(Store& store, DomId domain, const Path& path, std::string value) {
  const auto before = store.read(path);
  if (before) return store.write(path, std::move(value));
  return store.write(path, std::move(value), Permissions(domain));
}

bool is_sysrq_key(char key) {
  return (key >= '0' && key <= '9') || (key >= 'a' && key <= 'z') || (key >= 'A' && key <= 'Z');
}

}  // namespace

Status ask_shutdown(Store& store, DomId domain, ShutdownRequest request) {
  return write_for_answer(store, domain, control_node(domain, "shutdown"), std::string(word_for(request)));
}

bool is_shutdown_pending(Store& store, DomId domain) {
  const auto word = store.read(control_node(domain, "shutdown"));
  return word && !word->empty();
}

Status withdraw_shutdown(Store& store, DomId domain) {
  return write_for_answer(store, domain, control_node(domain, "shutdown"), "");
}

Status send_sysrq(Store& store, DomId domain, char key) {
  if (!is_sysrq_key(key)) return fail(Errno::einval);
  return write_for_answer(store, domain, control_node(domain, "sysrq"), std::string(1, key));
}

Status set_memory_target(Store& store, DomId domain, std::uint64_t kib) {
  return store.write(Path::of_domain(domain).child("memory").child("target"), std::to_string(kib));
}

Status set_vcpu_online(Store& store, DomId domain, std::uint32_t vcpu, bool online) {
  const Path path = Path::of_domain(domain).child("cpu").child(std::to_string(vcpu)).child("availability");
  if (const auto before = store.read(path); !before) return fail(before.error());
  return store.write(path, online ? "online" : "offline");
}

}  // namespace pinfold::devices::xenstore
