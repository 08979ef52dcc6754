// The page that tells a PV kernel about its domain (struct start_info, xen/xen.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "pvmmu/types.hpp"

namespace pinfold::loader {

inline constexpr std::uint32_t sif_mod_start_pfn = 1U << 3;  // mod_start is a pfn

/// The fields of start_info that a new domain has.
struct StartInfo {
  std::uint64_t nr_pages = 0;
  MachineAddr shared_info;
  std::uint32_t flags = 0;
  Mfn store_frame;
  Port store_port;
  Mfn console_frame;
  Port console_port;
  GuestVaddr pt_base;
  std::uint64_t nr_pt_frames = 0;
  GuestVaddr mfn_list;
  std::uint64_t mod_start = 0;  // address or pfn, as flags say
  std::uint64_t mod_len = 0;
  std::string_view command_line;  // at most 1,023 characters
  Pfn first_p2m_pfn;              // 0 and 0 unless the p2m list has a mapping of its own
  std::uint64_t nr_p2m_frames = 0;
};

void write(const StartInfo& info, std::span<std::byte, page_size> page);

}  // namespace pinfold::loader
