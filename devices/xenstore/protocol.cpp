#include "devices/xenstore/protocol.hpp"

#include <charconv>
#include <cstring>
#include <utility>
#include <vector>

namespace pinfold::devices::xenstore {
namespace {

static_assert(sizeof(xsd_sockmsg) == 16);

const std::string ok("OK\0", 3);

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

std::string with_nul(std::string text) {
  text += '\0';
  return text;
}

/// The NUL-terminated strings of a payload; EINVAL when the last one is not terminated or there are none.
tl::expected<std::vector<std::string_view>, Errno> strings(std::string_view payload) {
  if (payload.empty() || payload.back() != '\0') return fail(Errno::einval);
  std::vector<std::string_view> all;
  while (!payload.empty()) {
    const auto end = payload.find('\0');
    all.push_back(payload.substr(0, end));
    payload.remove_prefix(end + 1);
  }
  return all;
}

tl::expected<std::vector<std::string_view>, Errno> strings(std::string_view payload, std::size_t count) {
  auto all = strings(payload);
  if (all && all->size() != count) return fail(Errno::einval);
  return all;
}

template <class Number>
tl::expected<Number, Errno> number(std::string_view text) {
  Number value{};
  const auto* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ec != std::errc() || parsed.ptr != end) return fail(Errno::einval);
  return value;
}

tl::expected<std::string, Errno> ok_or_error(const Status& status) {
  if (!status) return fail(status.error());
  return ok;
}

}  // namespace

std::string Message::wire() const {
  const xsd_sockmsg header{type, request, transaction.raw(), static_cast<std::uint32_t>(payload.size())};
  std::string bytes(sizeof(header), '\0');
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes + payload;
}

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

Protocol::Answer Protocol::dispatch(const Message& request) {
  if (request.transaction != TransactionId(0) && !store_.has_transaction(client_, request.transaction)) {
    return fail(Errno::enoent);
  }
  switch (request.type) {
    case XS_READ:
    case XS_DIRECTORY:
    case XS_GET_PERMS:
    case XS_MKDIR:
    case XS_RM: return on_path(request);
    case XS_DIRECTORY_PART: return directory_part(request);
    case XS_WRITE: return write(request);
    case XS_SET_PERMS: return set_permissions(request);
    case XS_WATCH:
    case XS_UNWATCH: return watch(request);
    case XS_RESET_WATCHES: store_.reset(client_); return ok;
    case XS_TRANSACTION_START: {
      if (request.transaction != TransactionId(0)) return fail(Errno::ebusy);
      const auto tx = store_.start_transaction(client_);
      if (!tx) return fail(tx.error());
      return with_nul(std::to_string(tx->raw()));
    }
    case XS_TRANSACTION_END: return end_transaction(request);
    case XS_GET_DOMAIN_PATH:
    case XS_IS_DOMAIN_INTRODUCED: return about_domain(request);
    // For the toolstack's domain only.
    case XS_CONTROL:
    case XS_INTRODUCE:
    case XS_RELEASE:
    case XS_RESUME:
    case XS_SET_TARGET: return fail(Errno::eacces);
    default: return fail(Errno::enosys);
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
  const auto path = Path::parse(args->front(), domain_);
  if (!path) return fail(path.error());
  args->erase(args->begin());
  auto permissions = Permissions::parse(*args);
  if (!permissions) return fail(permissions.error());
  return ok_or_error(store_.set_permissions(client_, request.transaction, *path, std::move(*permissions)));
}

Protocol::Answer Protocol::watch(const Message& request) {
  const auto args = strings(request.payload, 2);
  if (!args) return fail(args.error());
  if (request.type == XS_UNWATCH) return ok_or_error(store_.unwatch(client_, (*args)[0], (*args)[1]));
  return ok_or_error(store_.watch(client_, (*args)[0], std::string((*args)[1])));
}

Protocol::Answer Protocol::end_transaction(const Message& request) {
  const auto args = strings(request.payload, 1);
  if (!args || (args->front() != "T" && args->front() != "F")) return fail(Errno::einval);
  return ok_or_error(store_.end_transaction(client_, request.transaction, args->front() == "T"));
}

Protocol::Answer Protocol::about_domain(const Message& request) {
  const auto args = strings(request.payload, 1);
  if (!args) return fail(args.error());
  const auto id = number<std::uint16_t>(args->front());
  if (!id) return fail(id.error());
  const DomId domain = *id == DOMID_SELF ? domain_ : DomId(*id);
  if (request.type == XS_GET_DOMAIN_PATH) return with_nul(Path::of_domain(domain).text());
  return with_nul(store_.is_introduced(domain) ? "T" : "F");
}

}  // namespace pinfold::devices::xenstore
