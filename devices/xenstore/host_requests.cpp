#include "devices/xenstore/host_requests.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "devices/xen_abi.hpp"
#include "devices/xenstore/payload.hpp"

namespace pinfold::devices::xenstore {
namespace {

using Answer = tl::expected<std::string, Errno>;

constexpr const char* control_help =
    "Control command support:\n  check \n  help \n  print <string>\n  quota \n";

std::string quota_table(const Quotas& quotas) {
  const auto line = [](const char* name, std::uint64_t value, const char* unit) {
    return std::string(name) + ": " + std::to_string(value) + " " + unit + "\n";
  };
  return line("nodes", quotas.nodes, "nodes") + line("watches", quotas.watches, "watches") +
         line("transactions", quotas.transactions, "transactions") +
         line("size", quotas.value_bytes, "bytes of a value") +
         line("perms", quotas.permissions_per_node, "permissions of a node") +
         line("transaction-nodes", quotas.transaction_nodes, "nodes of a transaction") +
         line("events", quotas.events, "watch events that wait") +
         line("memory (soft)", quotas.memory_soft, "bytes") + line("memory", quotas.memory_hard, "bytes") +
         "outstanding: 1 request\n";
}

/// What a client may print goes to the log, in one line.
std::string printable(std::string_view text) {
  std::string shown(text.substr(0, 200));
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return shown;
}

/// Commands that would open a file, or change the store's program or quotas, are not there (EINVAL).
Answer control(Store& store, std::string_view payload) {
  const auto args = strings(payload);
  if (!args) return fail(args.error());
  const std::string_view command = args->front();
  if (command == "help") return with_nul(control_help);
  if (command == "quota" && args->size() == 1) return with_nul(quota_table(store.quotas()));
  if (command == "print" && args->size() == 2) {
    spdlog::info("xenstore: {}", printable((*args)[1]));
    return ok;
  }
  if (command != "check") return fail(Errno::einval);
  if (!store.check()) spdlog::error("xenstore: the count of some domain's nodes is wrong");
  return ok;
}

/// The domain that the payload's first string names.
tl::expected<DomId, Errno> domain_in(std::string_view payload, std::size_t strings_at_least) {
  const auto args = strings(payload);
  if (!args || args->size() < strings_at_least) return fail(Errno::einval);
  const auto id = number<std::uint16_t>(args->front());
  if (!id) return fail(id.error());
  return DomId(*id);
}

Answer introduce(Store& store, std::string_view payload) {
  const auto args = strings(payload);
  if (!args || args->size() < 3) return fail(Errno::einval);
  const auto domain = domain_in(payload, 3);
  const auto port = number<std::uint32_t>((*args)[2]);
  if (!domain || *domain == DomId(0) || !port || *port == 0) return fail(Errno::einval);
  return fail(store.is_introduced(*domain) ? Errno::ebusy : Errno::enoent);
}

/// RELEASE and RESUME: of a domain that is connected.
Answer about_connected(Store& store, std::uint32_t type, std::string_view payload) {
  const auto domain = domain_in(payload, 1);
  if (!domain || *domain == DomId(0)) return fail(Errno::einval);
  if (!store.is_introduced(*domain)) return fail(Errno::enoent);
  return type == XS_RELEASE ? Answer(fail(Errno::ebusy)) : Answer(ok);
}

}  // namespace

bool is_host_request(std::uint32_t type) {
  switch (type) {
    case XS_CONTROL:
    case XS_INTRODUCE:
    case XS_RELEASE:
    case XS_IS_DOMAIN_INTRODUCED:
    case XS_RESUME:
    case XS_SET_TARGET: return true;
    default: return false;
  }
}

tl::expected<std::string, Errno> host_request(Store& store, std::uint32_t type, std::string_view payload) {
  switch (type) {
    case XS_CONTROL: return control(store, payload);
    case XS_INTRODUCE: return introduce(store, payload);
    case XS_RELEASE:
    case XS_RESUME: return about_connected(store, type, payload);
    case XS_IS_DOMAIN_INTRODUCED: {
      const auto domain = domain_in(payload, 1);
      if (!domain) return fail(domain.error());
      return with_nul(*domain == DomId(DOMID_SELF) || store.is_introduced(*domain) ? "T" : "F");
    }
    default: return fail(Errno::enosys);
  }
}

}  // namespace pinfold::devices::xenstore
