// Requests of a test guest to the store, and what it hears of its watches (xen/io/xs_wire.h). One request at
// a time; replies are awaited without sleeping.
#pragma once

#include <xen/sched.h>

#include "kit/store_ring.hpp"

namespace kit::store {

/// What came from the store: a reply, or an event of a watch.
struct Message {
  xsd_sockmsg header;
  char payload[XENSTORE_PAYLOAD_MAX + 1];  ///< Ends with a NUL.
};
inline Message reply;
/// The paths of the latest events, as far as they fit, and how many events there have been.
inline constexpr u32 kept_events = 16;
inline char event_paths[kept_events][64];
inline u32 events = 0;

inline u64 length_of(const char* text) {
  u64 n = 0;
  while (text[n] != 0) ++n;
  return n;
}
inline bool same(const char* a, const char* b) {
  while (*a != 0 && *a == *b) ++a, ++b;
  return *a == *b;
}

inline void put_bytes(const void* bytes, u64 count) {
  u32 produced = ring()->req_prod;
  for (u64 i = 0; i < count; ++i) {
    while (produced - __atomic_load_n(&ring()->req_cons, __ATOMIC_SEQ_CST) == XENSTORE_RING_SIZE) notify();
    ring()->req[MASK_XENSTORE_IDX(produced++)] = static_cast<const char*>(bytes)[i];
    __atomic_store_n(&ring()->req_prod, produced, __ATOMIC_SEQ_CST);
  }
}
inline void get_bytes(void* bytes, u64 count) {
  u32 consumed = ring()->rsp_cons;
  for (u64 i = 0; i < count; ++i) {
    while (__atomic_load_n(&ring()->rsp_prod, __ATOMIC_SEQ_CST) == consumed) {
      notify();
      hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
    }
    static_cast<char*>(bytes)[i] = ring()->rsp[MASK_XENSTORE_IDX(consumed++)];
    __atomic_store_n(&ring()->rsp_cons, consumed, __ATOMIC_SEQ_CST);
  }
}
inline void get(Message& message, const xsd_sockmsg& header) {
  message.header = header;
  get_bytes(message.payload, header.len);
  message.payload[header.len] = 0;
}
inline void get_event(const xsd_sockmsg& header) {
  static Message event;
  get(event, header);
  char* const path = event_paths[events++ % kept_events];
  u64 i = 0;
  for (; i < sizeof event_paths[0] - 1 && event.payload[i] != 0; ++i) path[i] = event.payload[i];
  path[i] = 0;
}
/// Takes what the store sent, up to the reply.
inline void await_reply() {
  for (;;) {
    xsd_sockmsg header;
    get_bytes(&header, sizeof header);
    if (header.type != XS_WATCH_EVENT) return get(reply, header);
    get_event(header);
  }
}
/// Takes an event if one waits.
inline bool take_event() {
  if (__atomic_load_n(&ring()->rsp_prod, __ATOMIC_SEQ_CST) == ring()->rsp_cons) {
    notify();
    return false;
  }
  xsd_sockmsg header;
  get_bytes(&header, sizeof header);
  CHECK_EQ(header.type, XS_WATCH_EVENT);
  get_event(header);
  return true;
}

/// Was there an event about `path`? Each is found once.
inline bool has_heard_of(const char* path) {
  for (auto& heard : event_paths)
    if (same(heard, path)) {
      heard[0] = 0;
      return true;
    }
  return false;
}

/// The store's word for an error ("EACCES"), or "" if there is none.
inline const char* request(u32 type, const void* payload, u64 bytes, u32 transaction = 0) {
  const xsd_sockmsg header{type, 1, transaction, static_cast<u32>(bytes)};
  put_bytes(&header, sizeof header);
  put_bytes(payload, bytes);
  notify();
  await_reply();
  return reply.header.type == XS_ERROR ? reply.payload : "";
}
/// A request whose payload is strings, each with its NUL; the last may be without.
inline const char* ask(u32 type, std::initializer_list<const char*> strings, u32 transaction = 0,
                       bool last_nul = true) {
  static char payload[XENSTORE_PAYLOAD_MAX];
  u64 bytes = 0;
  for (const char* text : strings) {
    while (*text != 0) payload[bytes++] = *text++;
    payload[bytes++] = 0;
  }
  return request(type, payload, last_nul ? bytes : bytes - 1, transaction);
}
inline const char* read(const char* path, u32 transaction = 0) { return ask(XS_READ, {path}, transaction); }
inline const char* write(const char* path, const char* value, u32 transaction = 0) {
  return ask(XS_WRITE, {path, value}, transaction, false);
}
inline const char* remove(const char* path) { return ask(XS_RM, {path}); }
inline const char* set_permissions(const char* path, const char* owner, const char* other) {
  return ask(XS_SET_PERMS, {path, owner, other});
}

/// Texts made of parts and numbers; there are eight, used in turn.
class Text {
 public:
  template <class... Parts>
  explicit Text(Parts... parts) {
    static char texts[8][128];
    static u32 next = 0;
    start_ = at_ = texts[next++ % 8];
    (add(parts), ...);
    *at_ = 0;
  }
  operator const char*() const { return start_; }  // NOLINT(google-explicit-constructor)

 private:
  void add(const char* text) {
    while (*text != 0) *at_++ = *text++;
  }
  void add(u64 number) {
    if (number >= 10) add(number / 10);
    *at_++ = static_cast<char>('0' + number % 10);
  }
  char *start_, *at_;
};
/// A copy that lasts longer.
inline void copy(char (&to)[128], const char* from) {
  u64 i = 0;
  for (; i < sizeof to - 1 && from[i] != 0; ++i) to[i] = from[i];
  to[i] = 0;
}
inline u64 number_in(const char* text) {
  u64 number = 0;
  for (; *text >= '0' && *text <= '9'; ++text) number = number * 10 + static_cast<u64>(*text - '0');
  return number;
}

}  // namespace kit::store
