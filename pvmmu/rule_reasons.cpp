#include "pvmmu/rule_reasons.hpp"

#include <algorithm>

namespace pinfold::pvmmu {
namespace {

constexpr auto reasons = std::to_array<RuleReason>({
    {Rule::entry_bad_flags,
     "Some bits change what an entry means. A large-page bit, above all, would turn an entry that names a "
     "table "
     "into one that maps 2 MiB or 1 GiB of frames, of whoever owns them, and none of them would be counted.",
     "Clear PSE, PWT, PCD and G in entries above L1. A large mapping is made of 4 KiB entries.",
     {148, 176, 182}},
    {Rule::l1_no_such_frame,
     "A frame past the machine's memory is a device, or nothing. Reaching a device by its address is for "
     "domains "
     "that were given it, and here none are.",
     "Name a frame of the domain's own memory. The machine frame of a pseudo-physical one is in the guest's "
     "p2m list.",
     {32}},
    {Rule::l1_invalid_frame,
     "The all-ones frame is what kernels hold for 'no frame'. An entry that is present and names it comes "
     "from a "
     "mistake, which the guest is told of by an error of its own.",
     "Look up the frame first: its p2m entry holds no frame."},
    {Rule::l1_foreign_frame,
     "This is isolation itself: an entry gives access to a frame, so the frame has to be the domain's. It is "
     "not "
     "enough that it was: a frame that was given back belongs to somebody else the next moment.",
     "Name a frame of the domain's own reservation; the p2m list has them. What another domain shares is "
     "reached "
     "by a grant of its owner's, never by its number.",
     {32, 217, 248, 287}},
    {Rule::l1_writable_map_of_table,
     "A guest that can write a page table with a plain store decides itself what memory it reaches. So a "
     "frame "
     "is either mapped writable or used as a table or descriptor page, never both at a time; each use is "
     "counted.",
     "Map it read-only and change entries by hypercall, or first end each use of the frame as a table: unpin "
     "it, take it out of the tables that name it, load another root.",
     {182, 241, 401, 408}},
    {Rule::l1_cache_attributes,
     "A frame that is seen with two memory types at once has two contents, one in the cache and one in "
     "memory: "
     "what was checked need not be what the processor then reads.",
     "Leave PWT, PCD and PAT clear: ordinary memory is write-back.",
     {154, 402}},
    {Rule::upper_foreign_frame,
     "A table that belongs to somebody else maps what somebody else decides, and can change at any time "
     "without "
     "a check on behalf of this domain.",
     "Build the table in a frame of the domain's own.",
     {32, 109}},
    {Rule::upper_wrong_type,
     "An upper entry makes the processor take a frame's contents for entries. While the frame is mapped "
     "writable, "
     "or is a table of another level, its contents are not checked as those of such a table, and could be "
     "anything.",
     "End the other uses first. A new table is filled while it is plain data; then every mapping of it is "
     "made "
     "read-only; then it is linked, which checks all its entries.",
     {241, 286, 401}},
    {Rule::upper_linear,
     "Behind an entry that names a table of its own level, the guest reads page tables as data. With RW it "
     "could write them. A table that is not validated yet may come to need the one that names it.",
     "Name the table by an entry without RW, and another table than the entry's own only once it is pinned "
     "or in use as a table of that level.",
     {182, 240, 309}},
    {Rule::l4_xen_slot,
     "These addresses are in every address space of the guest and hold what is the monitor's: the way in and "
     "out, and the machine-to-phys table.",
     "Leave the slots 256 to 271 of a root alone; use other addresses."},
    {Rule::count_overflow,
     "A count that wraps around says 'unused' of a frame that is used a lot.",
     "Take some of the frame's two billion mappings away.",
     {249, 250, 385}},
    {Rule::frame_not_owned,
     "Operations on a frame (pinning it, clearing it, giving it back) are its owner's.",
     "Name a frame of the domain's own.",
     {109, 248}},
    {Rule::frame_out_of_range,
     "The number is an index into the records of all frames, and past their end there is no record.",
     "Name a frame of the domain's own.",
     {32}},
    {Rule::frame_wrong_type,
     "A frame has one type at a time, as long as anybody relies on it. To take it for something else "
     "meanwhile "
     "would make what was checked of it untrue.",
     "End every use of the frame as what it is: mappings for a writable frame, entries, pins and loads for a "
     "table, GDT and LDT for a descriptor page.",
     {37, 214, 242}},
    {Rule::frame_not_a_table,
     "The operation writes to a frame in a way that has a meaning for page tables and plain data only; a "
     "descriptor page, or a table whose check is not finished, has rules of its own.",
     "Use the operation for what the frame is: update_descriptor for descriptors."},
    {Rule::frame_special,
     "The page is the monitor's: it is shared for as long as the domain lives, and written by both sides.",
     "Map it; don't give it back, exchange it, or make a table of it."},
    {Rule::frame_in_use,
     "A frame that is given away while somebody still maps it would be reachable for its old owner and its "
     "new "
     "one.",
     "Remove every mapping of the frame and every use as a table first.",
     {217, 222, 252}},
    {Rule::pin_already,
     "A pin is one reference, and one mark. A second pin would be a reference that no unpin gives back.",
     "Nothing: the table is pinned."},
    {Rule::pin_missing,
     "An unpin gives the pin's reference back. Without a pin it would take somebody else's.",
     "Pin before unpinning; a table that others use needs no pin.",
     {58, 310}},
    {Rule::root_not_l4,
     "What CR3 names is the first table that the processor walks. It is loaded while the frame holds a "
     "reference "
     "as a validated L4, taken before the load and dropped after the next, so the tree below it is checked.",
     "Make the frame an L4: no writable mapping of it, and all its entries valid. Pinning it beforehand "
     "shows "
     "which rule an entry breaks.",
     {438, 286}},
    {Rule::va_no_l1, "The operation changes the L1 entry of an address. Without an L1 there is none.",
     "Link an L1 into the tables first, by mmu_update on the L2's entry."},
    {Rule::ptwr_not_l1,
     "A plain store to a page table is a fault, which the monitor turns into a checked update as a favour to "
     "kernels, for L1 tables. A store above reaches further than one page, and is asked for explicitly.",
     "Use mmu_update for entries of levels 2 to 4.",
     {219, 286}},
    {Rule::desc_system,
     "TSSs and gates of the guest's own would let it enter code at a privilege of its choice; the LDT is "
     "loaded "
     "by hypercall only.",
     "Use code and data segments; the monitor has the TSS. Set the LDT by mmuext_op.",
     {214}},
    {Rule::desc_gate,
     "A call gate leads to code, and the code must be the guest's: a selector of the monitor's would be a "
     "way "
     "into it.",
     "Let the gate name one of the guest's own code segments.",
     {110}},
    {Rule::desc_misaligned,
     "A descriptor is checked as a whole and stored as a whole; one that straddles two of them is neither.",
     "Pass an address that is a multiple of 8."},
    {Rule::view_cannot_protect,
     "A table is used only once nothing in the domain's virtual machine can write its frame, whatever the "
     "guest "
     "maps. If the host does not make the frame read-only, the third wall is missing, and the table is not "
     "used.",
     "Nothing in the guest. On the host, raise vm.max_map_count or allow userfaultfd (pinfold doctor).",
     {222, 291}},
    {Rule::mirror_exhausted,
     "The processor walks a mirror of each table. There is room for a mirror of each frame of the machine, "
     "but "
     "those that were given up are used again only after all processors have flushed.",
     "Release page tables that are not used, or give the guest more memory."},
    {Rule::machine_exhausted, "Every frame of the machine has an owner.",
     "Give memory back first; extents of many frames are harder to find than single ones."},
    {Rule::domain_limit,
     "A domain may have as many frames as it was started with. Frames that it gave back count while "
     "something "
     "still refers to them, because nobody else can have them.",
     "Give frames back, with their mappings removed, before asking for others.",
     {385}},
    {Rule::unfinished,
     "One request may concern a tree of a million entries. Done at a stretch, it would keep the guest's "
     "events "
     "and the other vCPUs waiting.",
     "Nothing: the request is made again by itself, and goes on where it stopped.",
     {45, 290, 299, 310}},
    {Rule::table_not_as_stored,
     "The references that an entry holds are given back when the entry goes. An entry that was written past "
     "the validator holds none: dropping what it names would free frames that are in use.",
     "Nothing: the domain ends. Something wrote one of its tables although its view forbids that."},
    {Rule::grant_no_l1_entry,
     "Mapping a grant stores an entry at an address of the guest's choice. Anywhere but in a whole entry of "
     "an "
     "L1 it would change memory that is not a table, or two entries at once.",
     "Map the grant at an address that an L1 table translates, or name the machine address of an L1 entry.",
     {227}},
    {Rule::grant_other_mapping,
     "When a grant's mapping ends, the entry that it made is cleared. If any entry could be named in its "
     "place, the granted frame would stay mapped, or stay writable, after its grant has ended.",
     "Unmap at the address at which the grant was mapped, while the entry is still there; or map the grant "
     "again.",
     {234}},
    {Rule::view_cannot_lend,
     "A frame of another domain is mapped only while the domain's virtual machine has access to it, and a "
     "mapping has not ended before that access has. The host can refuse a change of it for lack of "
     "resources.",
     "Map fewer grants at a time: each may split the host's mapping of the guest's memory.",
     {222}},
    {Rule::upper_linear_chain,
     "If a table that is named by one of its level could name a third, tables could form a chain of any "
     "length, or a loop, whose end would be a recursion without bound. So one that is named names only "
     "itself.",
     "Clear the other entries first: those of the table that name others of its level, or those that name "
     "the table. A table may always name itself.",
     {240}},
    {Rule::grant_no_domain,
     "A grant is found by its owner and a number in the owner's table. A number of a domain that is not "
     "there, or is no longer there, must not find another one.",
     "Name a domain of the same machine (`pinfold list` has the numbers), and itself by its own number."},
    {Rule::grant_no_entry,
     "References are the caller's word. Past the end of the owner's table there is other memory of the "
     "owner's or the monitor's, whose content would be taken for a grant.",
     "Use the number that the owner told, after the owner has asked for so many frames of its table."},
    {Rule::grant_not_granted,
     "The entry is the owner's only statement about who may reach the frame, and how. Whoever was not named "
     "could read and write it.",
     "Have the owner write an entry that names the domain, without GTF_readonly if it is to be written."},
    {Rule::grant_entry_changes,
     "The mark that an entry is in use, and the look at what it permits, are one atomic step. An owner that "
     "changes the entry each time could otherwise keep the monitor trying for ever.",
     "Try again. An owner leaves an entry alone from the moment at which it is told to others."},
    {Rule::grant_foreign_frame,
     "An owner can write any frame's number into its table. If that were believed, it would grant what is "
     "not its own, and a copy by number would reach everybody's memory.",
     "Grant, and copy by number, only frames that the domain has got itself."},
    {Rule::grant_frame_in_use,
     "A writable grant of a page table or of a descriptor page would be a way past all checks of its "
     "entries.",
     "Grant it for reading, or remove all uses of the frame as a table first."},
    {Rule::grant_not_by_number, "Who knows a frame's number knows nothing about whether its owner agrees.",
     "Name the other domain's frame by a grant, and a frame of the domain's own as DOMID_SELF."},
    {Rule::grant_past_page,
     "Behind the end of a granted page there is memory of the owner's that was not granted.",
     "Divide the copy where a page ends."},
    {Rule::grant_maps_nowhere, "A mapping without a place could not be ended by naming its place.",
     "Set GNTMAP_host_map, GNTMAP_device_map or both."},
    {Rule::grant_no_handle,
     "Each mapping needs a record. Without a limit a domain could make the monitor run out of memory.",
     "Unmap grants first, or set max_maptrack_frames in the guest's configuration."},
    {Rule::grant_unknown_handle,
     "A handle is the caller's word. One that was closed may be another mapping's by now.",
     "Use the handle that the map returned, once."},
    {Rule::grant_other_address,
     "The address says which frame is no longer used. Another one means that the caller is about to end a "
     "mapping that it did not mean.",
     "Name the address that the map returned, or 0 to leave that part mapped."},
    {Rule::grant_not_accepted,
     "A frame that comes unasked takes room within the receiver's limit, and may replace something of its "
     "own.",
     "Have the receiver write an entry with GTF_accept_transfer and the giver's number first. The frame is "
     "lost to the giver already."},
});

constexpr bool all_in_order() {
  if (reasons.size() != rules.size()) return false;
  for (std::size_t i = 0; i < reasons.size(); ++i)
    if (static_cast<std::size_t>(reasons[i].rule) != i) return false;
  return true;
}
static_assert(all_in_order(), "a rule has no reason, or the reasons are not in the order of the rules");

}  // namespace

std::span<const RuleReason> rule_reasons() { return reasons; }
const RuleReason& reason(Rule rule) { return reasons[static_cast<std::size_t>(rule)]; }

std::string_view told(const RuleInfo& rule) {
  if (is_of_grants(rule)) return rule.grant_status;
  switch (rule.error) {
    case Errno::eperm: return "-EPERM";
    case Errno::ebusy: return "-EBUSY";
    case Errno::enomem: return "-ENOMEM";
    case Errno::einval: return "-EINVAL";
    case Errno::erestart: return "-ERESTART";
    default: return "";
  }
}

}  // namespace pinfold::pvmmu
