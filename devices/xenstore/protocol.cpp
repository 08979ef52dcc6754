#include "devices/xenstore/protocol.hpp"

#include <utility>
#include <vector>

#include "devices/xenstore/host_requests.hpp"
#include "devices/xenstore/payload.hpp"

namespace pinfold::devices::xenstore {
namespace {

/// How the protocol spells errors: by name.
std::string name_of(Errno error) {
  switch (error) {
    case Errno::eacces: return "EACCES";
    case Errno::eexist: return "EEXIST";
    case Errno::enoent: return "ENOENT";
    case Errno::enomem: return "ENOMEM";
    case Errno::enospc: return "ENOSPC";
    case Errno::enosys: return "ENOSYS";
    case Errno::ebusy: return "EBUSY";
    case Errno::eagain: return "EAGAIN";
    case Errno::e2big: return "E2BIG";
    case Errno::eperm: return "EPERM";
    default: return "EINVAL";
  }
}

}  // namespace

Message Protocol::answer(const Message& request) {
  auto payload = dispatch(request);
  if (payload && payload->size() > XENSTORE_PAYLOAD_MAX) payload = fail(Errno::e2big);
  if (!payload) return {XS_ERROR, request.request, request.transaction, with_nul(name_of(payload.error()))};
  return {request.type, request.request, request.transaction, std::move(*payload)};
}

std::optional<Message> Protocol::tell(const WatchEvent& event) {
  Message message{XS_WATCH_EVENT, 0, TransactionId(0), with_nul(event.path) + with_nul(event.token)};
  if (message.payload.size() > XENSTORE_PAYLOAD_MAX) return std::nullopt;
  return message;
}

/// A request that does not exist, then one that the client may not make, then a transaction that it has not:
/// the first of them that applies is the answer.
Protocol::Answer Protocol::dispatch(const Message& request) {
  const bool about_store = is_host_request(request.type);
  if (about_store && domain_ != DomId(0)) return fail(Errno::eacces);
  switch (request.type) {
    case XS_WATCH: return watch(request);
    case XS_UNWATCH: return unwatch(request);
    case XS_READ:
    case XS_DIRECTORY:
    case XS_GET_PERMS:
    case XS_MKDIR:
    case XS_RM:
    case XS_DIRECTORY_PART:
    case XS_WRITE:
    case XS_SET_PERMS:
    case XS_RESET_WATCHES:
    case XS_TRANSACTION_START:
    case XS_TRANSACTION_END:
    case XS_GET_DOMAIN_PATH: break;
    default:
      if (!about_store) return fail(Errno::enosys);
  }
  if (request.transaction != TransactionId(0) && !store_.has_transaction(client_, request.transaction))
    return fail(Errno::enoent);
  if (about_store) return host_request(store_, request.type, request.payload);
  switch (request.type) {
    case XS_DIRECTORY_PART: return directory_part(request);
    case XS_WRITE: return write(request);
    case XS_SET_PERMS: return set_permissions(request);
    case XS_RESET_WATCHES: store_.reset(client_); return ok;
    case XS_TRANSACTION_START: return start_transaction(request);
    case XS_TRANSACTION_END: return end_transaction(request);
    case XS_GET_DOMAIN_PATH: return domain_path(request);
    default: return on_path(request);
  }
}

Protocol::Answer Protocol::on_path(const Message& request) {
  const auto args = strings(request.payload, 1);
  if (!args) return fail(args.error());
  const auto path = Path::parse(args->front(), domain_);
  if (!path) return fail(path.error());
  switch (request.type) {
    case XS_MKDIR: return ok_or_error(store_.mkdir(client_, request.transaction, *path));
    case XS_RM: return ok_or_error(store_.remove(client_, request.transaction, *path));
    default: return read_node(request.type, request.transaction, *path);
  }
}

Protocol::Answer Protocol::read_node(std::uint32_t type, TransactionId tx, const Path& path) {
  if (type == XS_READ) return store_.read(client_, tx, path);
  if (type == XS_GET_PERMS) {
    const auto permissions = store_.permissions(client_, tx, path);
    if (!permissions) return fail(permissions.error());
    return permissions->wire();
  }
  const auto listing = store_.directory(client_, tx, path);
  if (!listing) return fail(listing.error());
  std::string names;
  for (const auto& name : listing->names) names += with_nul(name);
  return names;
}

/// A list too long for one message comes in parts: the node's generation, so that the client notices a change
/// in between, and the names from an offset on; an empty name ends the last part.
Protocol::Answer Protocol::directory_part(const Message& request) {
  const auto args = strings(request.payload, 2);
  if (!args) return fail(args.error());
  const auto path = Path::parse((*args)[0], domain_);
  const auto offset = number<std::uint32_t>((*args)[1]);
  if (!path || !offset) return fail(Errno::einval);
  const auto listing = store_.directory(client_, request.transaction, *path);
  if (!listing) return fail(listing.error());

  std::string reply = with_nul(std::to_string(listing->generation));
  std::size_t position = 0;
  bool complete = true;
  for (const auto& name : listing->names) {
    const std::size_t start = position;
    position += name.size() + 1;
    if (start < *offset) continue;
    if (reply.size() + name.size() + 2 > XENSTORE_PAYLOAD_MAX) {
      complete = false;
      break;
    }
    reply += with_nul(name);
  }
  if (complete) reply += '\0';
  return reply;
}

Protocol::Answer Protocol::write(const Message& request) {
  // The value is what follows the path's NUL, and has none of its own.
  const auto end = request.payload.find('\0');
  if (end == std::string::npos) return fail(Errno::einval);
  const auto path = Path::parse(std::string_view(request.payload).substr(0, end), domain_);
  if (!path) return fail(path.error());
  return ok_or_error(store_.write(client_, request.transaction, *path, request.payload.substr(end + 1)));
}

Protocol::Answer Protocol::set_permissions(const Message& request) {
  auto args = strings(request.payload);
  if (!args) return fail(args.error());
  const std::string_view name = args->front();
  args->erase(args->begin());
  auto permissions = Permissions::parse(*args);
  if (!permissions) return fail(permissions.error());
  // A domain that comes later and gets the number must not find nodes of its own.
  if (!store_.is_introduced(permissions->owner())) return fail(Errno::enoent);
  if (name.starts_with('@'))
    return ok_or_error(store_.set_special_permissions(client_, name, std::move(*permissions)));
  const auto path = Path::parse(name, domain_);
  if (!path) return fail(path.error());
  return ok_or_error(store_.set_permissions(client_, request.transaction, *path, std::move(*permissions)));
}

Protocol::Answer Protocol::watch(const Message& request) {
  const auto args = strings(request.payload);
  if (!args || args->size() < 2 || args->size() > 3) return fail(Errno::einval);
  std::optional<std::uint32_t> depth;
  if (args->size() == 3) {
    const auto given = number<std::uint32_t>((*args)[2]);
    if (!given) return fail(given.error());
    depth = *given;
  }
  return ok_or_error(store_.watch(client_, (*args)[0], std::string((*args)[1]), depth));
}

Protocol::Answer Protocol::unwatch(const Message& request) {
  const auto args = strings(request.payload, 2);
  if (!args) return fail(args.error());
  return ok_or_error(store_.unwatch(client_, (*args)[0], (*args)[1]));
}

Protocol::Answer Protocol::start_transaction(const Message& request) {
  if (request.transaction != TransactionId(0)) return fail(Errno::ebusy);
  const auto tx = store_.start_transaction(client_);
  if (!tx) return fail(tx.error());
  return with_nul(std::to_string(tx->raw()));
}

Protocol::Answer Protocol::end_transaction(const Message& request) {
  const auto args = strings(request.payload, 1);
  if (!args || (args->front() != "T" && args->front() != "F")) return fail(Errno::einval);
  return ok_or_error(store_.end_transaction(client_, request.transaction, args->front() == "T"));
}

Protocol::Answer Protocol::domain_path(const Message& request) {
  const auto args = strings(request.payload, 1);
  if (!args) return fail(args.error());
  const auto id = number<std::uint16_t>(args->front());
  if (!id) return fail(id.error());
  return with_nul(Path::of_domain(*id == DOMID_SELF ? domain_ : DomId(*id)).text());
}

}  // namespace pinfold::devices::xenstore
