// Every rule by which a page-table or descriptor change, or a use of a grant, is refused: its name, what the
// guest is told, and what it says.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "pvmmu/errno.hpp"

namespace pinfold::pvmmu {

// All rules in the order of their numbers, which logs store: a new one goes to the end, whatever it is about.
//
// About page tables and descriptors:
// X(identifier, "stable.name", error for the guest, "what the rule says")
// About a domain's use of a grant, before any entry of a page table is looked at (devices/ applies them):
// G(identifier, "stable.name", the status that the guest is told: GNTST_* of xen/grant_table.h without the
// prefix, "what the rule says")
#define PINFOLD_RULES(X, G)                                                                                  \
  X(entry_bad_flags, "entry.bad-flags", einval,                                                              \
    "a present entry has a bit set that its level does not allow")                                           \
  X(l1_no_such_frame, "l1.no-such-frame", eperm,                                                             \
    "an L1 entry names a frame that is not RAM, without I/O rights")                                         \
  X(l1_invalid_frame, "l1.invalid-frame", einval, "an L1 entry names the all-ones frame")                    \
  X(l1_foreign_frame, "l1.foreign-frame", ebusy, "an L1 entry names a frame that the domain does not own")   \
  X(l1_writable_map_of_table, "l1.writable-map-of-table", ebusy,                                             \
    "an L1 entry would make a page table or descriptor page writable for the guest")                         \
  X(l1_cache_attributes, "l1.cache-attributes", einval,                                                      \
    "an L1 entry asks for a memory type other than write-back")                                              \
  X(upper_foreign_frame, "upper.foreign-frame", einval,                                                      \
    "an L2-L4 entry names a frame that the domain does not own")                                             \
  X(upper_wrong_type, "upper.wrong-type", einval,                                                            \
    "an L2-L4 entry names a frame that is relied upon as something other than a table one level down")       \
  X(upper_linear, "upper.linear-table", einval,                                                              \
    "an L2-L4 entry names a table of its own level (linear page table), and has RW, or the table is not "    \
    "validated")                                                                                             \
  X(l4_xen_slot, "l4.xen-slot", einval, "an L4 slot between 256 and 271 is the monitor's, not the guest's")  \
  X(count_overflow, "frame.count-overflow", einval, "the frame has as many references as can be counted")    \
  X(frame_not_owned, "frame.not-owned", einval, "the operation names a frame that the domain does not own")  \
  X(frame_out_of_range, "frame.out-of-range", einval,                                                        \
    "the operation names a frame past the end of the machine")                                               \
  X(frame_wrong_type, "frame.wrong-type", einval,                                                            \
    "the frame is relied upon as another type than the one asked for")                                       \
  X(frame_not_a_table, "frame.not-a-table", einval, "the frame can't be written as a page table or as data") \
  X(frame_special, "frame.special", einval, "the frame is the monitor's own page, shared with the guest")    \
  X(frame_in_use, "frame.in-use", einval, "the frame has other references than its allocation")              \
  X(pin_already, "pin.already-pinned", einval, "the table is pinned already")                                \
  X(pin_missing, "pin.not-pinned", einval, "the frame to be unpinned is not pinned")                         \
  X(root_not_l4, "root.not-an-l4", einval,                                                                   \
    "a page-table root must be, or be able to become, a validated L4")                                       \
  X(va_no_l1, "va.no-l1", einval, "no L1 table of the guest translates the address")                         \
  X(ptwr_not_l1, "ptwr.not-an-l1", einval, "only an entry of an L1 table can be written by a plain store")   \
  X(desc_system, "desc.system-segment", einval,                                                              \
    "a present descriptor is a system segment that guests may not have")                                     \
  X(desc_gate, "desc.call-gate", einval, "a call gate leads to a selector that is not the guest's")          \
  X(desc_misaligned, "desc.misaligned", einval, "a descriptor's address is not 8-byte aligned")              \
  X(view_cannot_protect, "view.cannot-protect", enomem,                                                      \
    "the host could not make the frame read-only in the view")                                               \
  X(mirror_exhausted, "mirror.exhausted", enomem, "no frame is left for another table's mirror")             \
  X(machine_exhausted, "machine.exhausted", enomem, "the machine has no free frame of the size asked for")   \
  X(domain_limit, "domain.limit", enomem, "the domain would have more memory than it may")                   \
  X(unfinished, "work.unfinished", erestart,                                                                 \
    "nothing: it was as much work as may be done at a stretch, and the same request goes on from there")     \
  X(table_not_as_stored, "table.not-as-stored", einval,                                                      \
    "the table holds an entry that is not the one that was checked and stored there")                        \
  X(grant_no_l1_entry, "grant.no-l1-entry", einval,                                                          \
    "a granted frame is mapped and unmapped only in an entry of an L1 table of the domain")                  \
  X(grant_other_mapping, "grant.other-mapping", einval,                                                      \
    "the entry from which a granted frame is to be unmapped does not map it as the grant did")               \
  X(view_cannot_lend, "view.cannot-lend", enomem,                                                            \
    "the host could not change the view's access to a frame that another domain granted")                    \
  X(upper_linear_chain, "upper.linear-chain", einval,                                                        \
    "a table whose entries name others of its level is named by one, or would be (linear page tables)")      \
  G(grant_no_domain, "grant.no-such-domain", bad_domain, "no other domain of the machine has this number")   \
  G(grant_no_entry, "grant.no-such-entry", bad_gntref, "the owner's grant table has no such entry")          \
  G(grant_not_granted, "grant.not-granted", general_error,                                                   \
    "the owner's entry grants nothing to the domain, or not for writing")                                    \
  G(grant_entry_changes, "grant.entry-changes", general_error,                                               \
    "the owner keeps changing the entry while it is to be marked as in use")                                 \
  G(grant_foreign_frame, "grant.foreign-frame", bad_page,                                                    \
    "the frame that is named, by an entry or by its number, is not that domain's")                           \
  G(grant_frame_in_use, "grant.frame-in-use", general_error,                                                 \
    "the frame is to be written, and is in use as a page table or a descriptor page, or can't be counted")   \
  G(grant_not_by_number, "grant.not-by-number", permission_denied,                                           \
    "a copy names a frame of another domain by its number, without a grant")                                 \
  G(grant_past_page, "grant.past-the-page", bad_copy_arg, "a copy goes past the end of a page")              \
  G(grant_maps_nowhere, "grant.maps-nowhere", bad_gntref,                                                    \
    "a map asks for neither an entry of a page table nor an address")                                        \
  G(grant_no_handle, "grant.no-handle", no_space, "the domain has as many grants mapped as it may")          \
  G(grant_unknown_handle, "grant.unknown-handle", bad_handle, "the domain has nothing mapped by the handle") \
  G(grant_other_address, "grant.other-address", bad_dev_addr,                                                \
    "the address that a map gave is to be unmapped, and another one is named")                               \
  G(grant_not_accepted, "grant.not-accepted", general_error,                                                 \
    "no entry of the receiver's accepts a frame of the domain, or the receiver has no room for it")

enum class Rule : std::uint8_t {
#define X(id, name, told, text) id,
  PINFOLD_RULES(X, X)
#undef X
};

struct RuleInfo {
  std::string_view name;
  Errno error;  ///< For the hypercall; of rules about grants, EINVAL: they tell a status of their own.
  std::string_view text;
  std::string_view grant_status;  ///< "GNTST_bad_page"; empty for those that are not of grants.
};

inline constexpr auto rules = std::to_array<RuleInfo>({
#define X(id, name, error, text) {name, Errno::error, text, {}},
#define G(id, name, status, text) {name, Errno::einval, text, "GNTST_" #status},
    PINFOLD_RULES(X, G)
#undef G
#undef X
});

[[nodiscard]] constexpr const RuleInfo& info(Rule rule) { return rules[static_cast<std::size_t>(rule)]; }
[[nodiscard]] constexpr bool is_of_grants(const RuleInfo& rule) { return !rule.grant_status.empty(); }

}  // namespace pinfold::pvmmu
