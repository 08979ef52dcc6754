#include "loader/xen_notes.hpp"

#include <xen/elfnote.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

namespace pinfold::loader {
namespace {

constexpr std::size_t max_string = 4095;

Loaded<std::uint64_t> number(const XenNote& note) {
  const auto size = note.desc.size();
  if (size != 1 && size != 2 && size != 4 && size != 8) {
    return refuse("Xen note " + std::to_string(note.type) + " is a number of " + std::to_string(size) +
                  " bytes");
  }
  std::uint64_t value = 0;
  std::memcpy(&value, note.desc.data(), size);
  return value;
}

Loaded<std::string> string(const XenNote& note) {
  const auto* begin = reinterpret_cast<const char*>(note.desc.data());
  const auto* end = begin + note.desc.size();
  const auto* nul = std::find(begin, end, '\0');  // Linux writes FEATURES without one
  if (static_cast<std::size_t>(nul - begin) > max_string) {
    return refuse("Xen note " + std::to_string(note.type) + " is too long");
  }
  return std::string(begin, nul);
}

struct NumberNote {
  std::uint32_t type;
  std::optional<std::uint64_t> XenNotes::*field;
};
constexpr std::array number_notes{
    NumberNote{XEN_ELFNOTE_ENTRY, &XenNotes::entry},
    NumberNote{XEN_ELFNOTE_HYPERCALL_PAGE, &XenNotes::hypercall_page},
    NumberNote{XEN_ELFNOTE_VIRT_BASE, &XenNotes::virt_base},
    NumberNote{XEN_ELFNOTE_PADDR_OFFSET, &XenNotes::paddr_offset},
    NumberNote{XEN_ELFNOTE_INIT_P2M, &XenNotes::init_p2m},
    NumberNote{XEN_ELFNOTE_HV_START_LOW, &XenNotes::hv_start_low},
    NumberNote{XEN_ELFNOTE_PHYS32_ENTRY, &XenNotes::phys32_entry},
    NumberNote{XEN_ELFNOTE_SUPPORTED_FEATURES, &XenNotes::supported_features},
};

struct FlagNote {
  std::uint32_t type;
  bool XenNotes::*field;
};
constexpr std::array flag_notes{
    FlagNote{XEN_ELFNOTE_MOD_START_PFN, &XenNotes::mod_start_pfn},
    FlagNote{XEN_ELFNOTE_SUSPEND_CANCEL, &XenNotes::suspend_cancel},
};

struct StringNote {
  std::uint32_t type;
  std::optional<std::string> XenNotes::*field;
};
constexpr std::array string_notes{
    StringNote{XEN_ELFNOTE_XEN_VERSION, &XenNotes::xen_version},
    StringNote{XEN_ELFNOTE_GUEST_OS, &XenNotes::guest_os},
    StringNote{XEN_ELFNOTE_GUEST_VERSION, &XenNotes::guest_version},
    StringNote{XEN_ELFNOTE_LOADER, &XenNotes::loader},
    StringNote{XEN_ELFNOTE_FEATURES, &XenNotes::features},
    StringNote{XEN_ELFNOTE_PAE_MODE, &XenNotes::pae_mode},
};

template <class Table>
const typename Table::value_type* find_type(const Table& table, std::uint32_t type) {
  const auto found =
      std::find_if(table.begin(), table.end(), [&](const auto& row) { return row.type == type; });
  return found == table.end() ? nullptr : &*found;
}

Loaded<void> read_note(const XenNote& note, XenNotes& notes) {
  if (const auto* numeric = find_type(number_notes, note.type)) {
    const auto value = number(note);
    if (!value) return tl::unexpected(value.error());
    notes.*(numeric->field) = *value;
  } else if (const auto* flag = find_type(flag_notes, note.type)) {
    const auto value = number(note);
    if (!value) return tl::unexpected(value.error());
    notes.*(flag->field) = *value != 0;
  } else if (const auto* text = find_type(string_notes, note.type)) {
    const auto value = string(note);
    if (!value) return tl::unexpected(value.error());
    notes.*(text->field) = *value;
  } else if (note.type == XEN_ELFNOTE_BSD_SYMTAB) {
    const auto value = string(note);
    if (!value) return tl::unexpected(value.error());
    notes.bsd_symtab = value->starts_with("yes");
  }
  return {};
}

/// A number as the `__xen_guest` string has it: hexadecimal with 0x, else decimal.
Loaded<std::uint64_t> legacy_number(std::string_view key, std::string_view text) {
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  const auto digits = text.substr(hex ? 2 : 0);
  std::uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, hex ? 16 : 10);
  if (error != std::errc{} || end != digits.data() + digits.size()) {
    return refuse("__xen_guest: " + std::string(key) + " is not a number: " + printable(text));
  }
  return value;
}

struct LegacyKey {
  std::string_view key;
  std::optional<std::uint64_t> XenNotes::*number;
  std::optional<std::string> XenNotes::*text;
};
constexpr std::array legacy_keys{
    LegacyKey{"VIRT_BASE", &XenNotes::virt_base, nullptr},
    LegacyKey{"VIRT_ENTRY", &XenNotes::entry, nullptr},
    LegacyKey{"ELF_PADDR_OFFSET", &XenNotes::paddr_offset, nullptr},
    LegacyKey{"HYPERCALL_PAGE", &XenNotes::hypercall_page, nullptr},
    LegacyKey{"XEN_VER", nullptr, &XenNotes::xen_version},
    LegacyKey{"GUEST_OS", nullptr, &XenNotes::guest_os},
    LegacyKey{"GUEST_VER", nullptr, &XenNotes::guest_version},
    LegacyKey{"LOADER", nullptr, &XenNotes::loader},
    LegacyKey{"FEATURES", nullptr, &XenNotes::features},
    LegacyKey{"PAE", nullptr, &XenNotes::pae_mode},
};

Loaded<void> read_legacy_pair(std::string_view pair, XenNotes& notes) {
  const auto equals = pair.find('=');
  const auto key = pair.substr(0, equals);
  const auto value = equals == std::string_view::npos ? std::string_view{} : pair.substr(equals + 1);
  if (key == "BSD_SYMTAB") notes.bsd_symtab = true;
  const auto row =
      std::find_if(legacy_keys.begin(), legacy_keys.end(), [&](const auto& k) { return k.key == key; });
  if (row == legacy_keys.end()) return {};
  if (row->text != nullptr) {
    notes.*(row->text) = std::string(value);
    return {};
  }
  const auto parsed = legacy_number(key, value);
  if (!parsed) return tl::unexpected(parsed.error());
  notes.*(row->number) = *parsed;
  return {};
}

/// The names of xen/features.h, as FEATURES writes them; those without XENFEAT bits of their own are old
/// aliases. `possible`: a 64-bit PV guest of this monitor can be given what the kernel asks for.
/// writable_page_tables is, since to a loader it means only that the kernel copes with tables that it can't
/// write.
struct Feature {
  std::string_view name;
  bool possible;
};
constexpr std::array known_features{
    Feature{"writable_page_tables", true},
    Feature{"writable_descriptor_tables", false},
    Feature{"auto_translated_physmap", false},
    Feature{"supervisor_mode_kernel", false},
    Feature{"pae_pgdir_above_4gb", true},
    Feature{"mmu_pt_update_preserve_ad", true},
    Feature{"highmem_assist", false},
    Feature{"gnttab_map_avail_bits", true},
    Feature{"hvm_callback_vector", false},
    Feature{"hvm_safe_pvclock", false},
    Feature{"hvm_pirqs", false},
    Feature{"dom0", false},
};

Loaded<void> check_feature(std::string_view feature) {
  if (!feature.starts_with('!')) return {};
  feature.remove_prefix(1);
  const auto row = std::find_if(known_features.begin(), known_features.end(),
                                [&](const Feature& known) { return known.name == feature; });
  if (row == known_features.end()) return refuse("kernel requires an unknown feature: " + printable(feature));
  if (!row->possible) return refuse("kernel requires a feature that is not provided: " + printable(feature));
  return {};
}

Loaded<void> check_features(std::string_view list) {
  while (!list.empty()) {
    const auto end = list.find('|');
    if (auto fine = check_feature(list.substr(0, end)); !fine) return fine;
    list = end == std::string_view::npos ? std::string_view{} : list.substr(end + 1);
  }
  return {};
}

/// The notes that a PV kernel must have, and this one has not.
std::string missing(const XenNotes& notes) {
  std::string names;
  const auto add = [&](const char* name) { names += (names.empty() ? "" : ", ") + std::string(name); };
  if (!notes.entry && (notes.empty() || notes.phys32_entry)) add("ENTRY");  // else e_entry serves
  if (!notes.xen_version) add("XEN_VERSION");
  if (!notes.guest_os && !notes.loader) add("GUEST_OS or LOADER");
  return names;
}

}  // namespace

bool XenNotes::empty() const {
  const auto unset = [this](const auto& row) { return !(this->*(row.field)).has_value(); };
  return std::all_of(number_notes.begin(), number_notes.end(), unset) &&
         std::all_of(string_notes.begin(), string_notes.end(), unset);
}

Loaded<XenNotes> read_notes(const std::vector<XenNote>& list) {
  XenNotes notes;
  for (const XenNote& note : list) {
    if (auto fine = read_note(note, notes); !fine) return tl::unexpected(fine.error());
  }
  return notes;
}

Loaded<XenNotes> read_xen_guest(std::string_view text) {
  text = text.substr(0, text.find('\0'));
  if (text.size() > max_string) return refuse("__xen_guest is too long");
  XenNotes notes;
  notes.legacy = true;
  while (!text.empty()) {
    const auto end = text.find(',');
    if (auto fine = read_legacy_pair(text.substr(0, end), notes); !fine) return tl::unexpected(fine.error());
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  }
  // Here the hypercall page is counted in pages from the start of the address space that VIRT_BASE begins.
  if (notes.hypercall_page)
    notes.hypercall_page = (*notes.hypercall_page << 12) + notes.virt_base.value_or(0);
  return notes;
}

Loaded<void> check_notes(const XenNotes& notes) {
  if (const auto names = missing(notes); !names.empty()) {
    if (notes.empty()) return refuse("not a Xen PV kernel: no Xen notes (" + names + ")");
    return refuse(std::string(notes.phys32_entry && !notes.entry ? "not a Xen PV kernel but a PVH one"
                                                                 : "not a Xen PV kernel") +
                  ": missing notes " + names);
  }
  if (!notes.xen_version->starts_with("xen-3.0")) {
    return refuse("kernel is for another Xen interface: XEN_VERSION is \"" + printable(*notes.xen_version) +
                  "\", not xen-3.0");
  }
  const bool generic = notes.loader && notes.loader->starts_with("generic");
  const bool linux_guest = notes.guest_os && notes.guest_os->starts_with("linux");
  if (!generic && !linux_guest) {
    return refuse("kernel needs a loader of its own: LOADER is \"" + printable(notes.loader.value_or("")) +
                  "\", GUEST_OS \"" + printable(notes.guest_os.value_or("")) + "\"");
  }
  return check_features(notes.features.value_or(""));
}

}  // namespace pinfold::loader
