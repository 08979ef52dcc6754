// The events by which a validator reports each operation and each decision.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string_view>

#include "pvmmu/verdict.hpp"

namespace pinfold::pvmmu {

struct ValidatorParts;

// X(identifier, "name"): first the operations, which are the validator's inputs; then what happens within
// one, whose event precedes the operation's; then what is reported from outside of the validator; last
// what came later, since logs store a kind by its number.
#define PINFOLD_TRACE_KINDS(X)            \
  X(update, "update")                     \
  X(update_va, "update-va")               \
  X(store_l1, "store-l1")                 \
  X(touch, "touch")                       \
  X(set_machphys, "set-machphys")         \
  X(pin, "pin")                           \
  X(unpin, "unpin")                       \
  X(load_root, "load-root")               \
  X(unload_root, "unload-root")           \
  X(clear_page, "clear-page")             \
  X(copy_page, "copy-page")               \
  X(write_descriptor, "write-descriptor") \
  X(hold, "hold")                         \
  X(release, "release")                   \
  X(allocate, "allocate")                 \
  X(allocate_special, "allocate-special") \
  X(deallocate, "deallocate")             \
  X(check_exchange, "check-exchange")     \
  X(finish_releases, "finish-releases")   \
  X(hide_machphys, "hide-machphys")       \
  X(forget_mirrors, "forget-mirrors")     \
  X(destroy, "destroy")                   \
  X(protected_frame, "protected")         \
  X(plain_frame, "plain")                 \
  X(freed_frame, "freed")                 \
  X(host_refused, "host-refused")         \
  X(entered, "entered")                   \
  X(flushed, "flushed")                   \
  X(state, "state")                       \
  X(hold_readable, "hold-readable")       \
  X(release_readable, "release-readable") \
  X(map_granted, "map-grant")             \
  X(unmap_granted, "unmap-grant")         \
  X(replace_granted, "replace-grant")     \
  X(give_away, "give-away")               \
  X(receive, "receive")                   \
  X(machine_grew, "machine-grew")         \
  X(domain_begins, "domain-begins")       \
  X(fill_windows, "fill-windows")         \
  X(use_grant, "use-grant")

enum class TraceKind : std::uint8_t {
#define X(id, name) id,
  PINFOLD_TRACE_KINDS(X)
#undef X
};
inline constexpr TraceKind all_trace_kinds[] = {
#define X(id, name) TraceKind::id,
    PINFOLD_TRACE_KINDS(X)
#undef X
};
inline constexpr std::size_t trace_kinds = std::size(all_trace_kinds);
[[nodiscard]] std::string_view name(TraceKind kind);
[[nodiscard]] constexpr bool is_operation(TraceKind kind) {
  return kind <= TraceKind::destroy || (kind >= TraceKind::hold_readable &&
                                        kind != TraceKind::domain_begins && kind != TraceKind::use_grant);
}
/// Does its event say whether what was asked for was done?
[[nodiscard]] constexpr bool is_judged(TraceKind kind) {
  return is_operation(kind) || kind == TraceKind::use_grant;
}
/// Does it change an entry of an L1 by a grant?
[[nodiscard]] constexpr bool is_of_grant(TraceKind kind) {
  return kind >= TraceKind::map_granted && kind <= TraceKind::replace_granted;
}
/// Does it happen within an operation, so that it precedes that operation's event?
[[nodiscard]] constexpr bool is_within_operation(TraceKind kind) {
  return kind >= TraceKind::protected_frame && kind <= TraceKind::host_refused;
}

/// Why a vCPU left the guest, for `entered`: a hypercall's number, or an exception's vector above these.
inline constexpr std::uint64_t cause_exception = 0x100;
inline constexpr std::uint64_t cause_other = 0x200;
/// What a grant was to be used for, or in its place a frame that was named by its number: `use_grant`.
enum class GrantPurpose : std::uint8_t { map, unmap, copy_from, copy_to, transfer };
inline constexpr std::uint64_t grant_purposes = 5;
/// `purpose`: below grant_purposes.
[[nodiscard]] std::string_view name(GrantPurpose purpose);
/// For `flushed`: all vCPUs.
inline constexpr std::uint64_t every_vcpu = ~0ULL;

/// The part of a frame's record that verdicts depend on.
struct FrameState {
  FrameType type = FrameType::none;
  bool pinned = false;
  std::uint32_t refs = 0;
  std::uint32_t type_count = 0;
  friend bool operator==(const FrameState&, const FrameState&) = default;
};

/// Marks of an event.
struct TraceMarks {
  bool preserve : 1 = false;  ///< update: accessed and dirty are to be kept (MMU_PT_UPDATE_PRESERVE_AD).
  bool accessed_by_processor : 1 = false;  ///< update: the mirror had A where the guest's entry had not.
  bool flush : 1 = false;                  ///< All processors must flush before the guest goes on.
  bool beyond_limit : 1 = false;           ///< allocate: for XENMEM_exchange, without the domain's limit.
  bool write : 1 = false;                  ///< touch: a write.
  bool cleared : 1 = false;   ///< allocate, allocate_special: the frames had been used, and were cleared.
  bool revoke : 1 = false;    ///< host_refused: to take a frame out of the view; else to protect it.
  bool budgeted : 1 = false;  ///< `budget` is how many entries of work were left before the operation.
  /// finish_releases: there is more to do; entered: events before this one have reported the same.
  bool continued : 1 = false;
  friend bool operator==(const TraceMarks&, const TraceMarks&) = default;
};

/// One event. Its kind determines which fields are used (docs/trace-format.md has the table); the others keep
/// the values that they have here.
struct TraceEvent {
  TraceKind kind{};
  TraceMarks marks;
  DomId domain;                        ///< Whose event it is: the sink fills it in.
  std::uint8_t level = 0;              ///< Of `table`, or asked for: 1 to 4; 0 for none.
  FrameType wanted = FrameType::none;  ///< hold, protected_frame: as what.
  std::uint16_t slot = 0;
  Mfn table = no_mfn;  ///< The table whose entry was to change.
  Mfn root = no_mfn;   ///< update_va, fill_windows: where the walk began; load_root, unload_root: the
                       ///< register's old value.
  Mfn frame = no_mfn;  ///< What the entry names, or else the frame that the operation is about.
  Pte old;             ///< The entry that was there.
  Pte now;             ///< The entry that was asked for, or that the grant to be unmapped made.
  /// update_va, fill_windows: the address; set_machphys: the PFN; copy_page: the frame copied from;
  /// write_descriptor: the machine address; allocate: the alignment; forget_mirrors: the number of the first
  /// mirror that may not be used again yet; entered: the instruction pointer (the vCPU is `slot`); flushed:
  /// the vCPU; replace_granted: the machine address of the entry that moves; receive: the PFN; use_grant: the
  /// bytes of a copy, or the handle of an unmap.
  std::uint64_t argument = 0;
  /// set_machphys, allocate, freed: frames in a row; destroy: frames that still had references; entered: the
  /// cause; machine_grew: the frames of the machine; those of grants: how many bytes after the entry's begin
  /// the address was; fill_windows: Filled, as a number; use_grant: GrantPurpose, as a number.
  std::uint64_t count = 0;
  std::uint64_t budget = 0;
  std::optional<FrameState> before, after;  ///< Of `frame`, where it is the domain's.
  std::optional<GrantName> grant;           ///< Those of grants, and use_grant: which.
  std::optional<Refusal> refusal;
  /// protected_frame: the 512 entries that the frame held when the guest lost the permission to write it;
  /// domain_begins: what the validator was made with. Valid during the call.
  std::span<const std::uint64_t> contents;
  /// state: digest of each 512 frames' records and tables (state_digest.hpp). Valid during the call.
  std::span<const std::uint32_t> digests;
};

/// Receives the events of one domain: one at a time, under the domain's lock, so the guest waits meanwhile.
/// It must not call the validator. Operations are not nested: after operation_begins() come the events of
/// what happens within the operation, then its own.
class TraceSink {
 public:
  virtual ~TraceSink() = default;
  /// The validator begins its work with these parts. Called once, before any event.
  virtual void started(const ValidatorParts& parts) = 0;
  /// An operation begins: its cost is counted from here to its event. A sink of several domains may keep the
  /// others' operations waiting until then.
  virtual void operation_begins() = 0;
  virtual void event(const TraceEvent& event) = 0;
  /// A vCPU caused the events that follow: `ip` is its instruction pointer, `cause` why it left the guest.
  virtual void vcpu_entered(VcpuId vcpu, GuestVaddr ip, std::uint64_t cause) = 0;
};

}  // namespace pinfold::pvmmu
