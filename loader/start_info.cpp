#include "loader/start_info.hpp"

#include <xen/xen.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace pinfold::loader {
namespace {

// The 64-bit ABI, whatever the compiler makes of the header.
static_assert(offsetof(start_info_t, nr_pages) == 32);
static_assert(offsetof(start_info_t, shared_info) == 40);
static_assert(offsetof(start_info_t, flags) == 48);
static_assert(offsetof(start_info_t, store_mfn) == 56);
static_assert(offsetof(start_info_t, store_evtchn) == 64);
static_assert(offsetof(start_info_t, console.domU.mfn) == 72);
static_assert(offsetof(start_info_t, console.domU.evtchn) == 80);
static_assert(offsetof(start_info_t, pt_base) == 88);
static_assert(offsetof(start_info_t, nr_pt_frames) == 96);
static_assert(offsetof(start_info_t, mfn_list) == 104);
static_assert(offsetof(start_info_t, mod_start) == 112);
static_assert(offsetof(start_info_t, mod_len) == 120);
static_assert(offsetof(start_info_t, cmd_line) == 128);
static_assert(offsetof(start_info_t, first_p2m_pfn) == 1152);
static_assert(offsetof(start_info_t, nr_p2m_frames) == 1160);
static_assert(sizeof(start_info_t) == 1168);
static_assert(sif_mod_start_pfn == SIF_MOD_START_PFN);

constexpr std::string_view magic = "xen-3.0-x86_64";

}  // namespace

void write(const StartInfo& info, std::span<std::byte, page_size> page) {
  start_info_t abi{};
  std::ranges::copy(magic, abi.magic);
  abi.nr_pages = info.nr_pages;
  abi.shared_info = info.shared_info.raw();
  abi.flags = info.flags;
  abi.store_mfn = info.store_frame.raw();
  abi.store_evtchn = info.store_port.raw();
  abi.console.domU.mfn = info.console_frame.raw();
  abi.console.domU.evtchn = info.console_port.raw();
  abi.pt_base = info.pt_base.raw();
  abi.nr_pt_frames = info.nr_pt_frames;
  abi.mfn_list = info.mfn_list.raw();
  abi.mod_start = info.mod_start;
  abi.mod_len = info.mod_len;
  std::ranges::transform(info.command_line.substr(0, sizeof abi.cmd_line - 1), abi.cmd_line,
                         [](char c) { return static_cast<std::int8_t>(c); });
  abi.first_p2m_pfn = info.first_p2m_pfn.raw();
  abi.nr_p2m_frames = info.nr_p2m_frames;
  std::memcpy(page.data(), &abi, sizeof abi);
}

}  // namespace pinfold::loader
