// The machine that all domains share: its frames, who owns them, and the machine-to-phys table.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "pvmmu/frame_table.hpp"
#include "pvmmu/memory.hpp"
#include "vmm/memory/mapping.hpp"
#include "vmm/memory/mapping_budget.hpp"

namespace pinfold::vmm {

/// Frames that a domain may have beyond its memory: pages of the monitor's that are shared with it, and a few
/// for exchanges of frames.
inline constexpr std::uint64_t spare_frames = 4096;

/// Domains that a machine has at most.
inline constexpr std::size_t most_domains = 16;

/// Whatever has a part for each frame of the machine, and has to follow when it grows: a domain.
class MachineTenant {
 public:
  /// What may fail, for a machine that grows from `from` frames to `to`. An error: nothing was changed.
  [[nodiscard]] virtual tl::expected<void, std::string> make_room(std::uint64_t from, std::uint64_t to) = 0;
  /// Undoes make_room(): the machine stays as it was.
  virtual void take_back_room() = 0;
  /// The machine has `to` frames now, after make_room().
  virtual void machine_grew(std::uint64_t to) = 0;
  /// How many of the machine's frames it may ever have at once.
  [[nodiscard]] virtual std::uint64_t most_frames() const = 0;

 protected:
  ~MachineTenant() = default;
};

/// Machine memory, backed by one file. The monitor has a mapping of all of it, for which no virtual machine
/// has a slot. Each domain has a View of it.
///
/// Address space is reserved for all that the machine can grow to, so nothing ever moves: growing makes more
/// of it usable, and adds memory slots to the VMs beside those that they have. No vCPU has to stop for it.
///
/// Concurrency: any thread may use it. Its size changes, and domains come and go, under a lock of its own,
/// which is taken before any domain's.
class Machine {
 public:
  /// `frames`: its size in 4 KiB frames; `most`: what it can grow to, or 0 for no more than that;
  /// `max_map_count`: how many mappings the process may have, or 0 for what is usual. The host allocates
  /// memory when a frame is first accessed.
  [[nodiscard]] static MemoryResult<std::unique_ptr<Machine>> create(std::uint64_t frames,
                                                                     std::uint64_t most = 0,
                                                                     std::uint64_t max_map_count = 0);

  /// Adds frames at the end, so that it has `frames`, and tells all tenants. An error: it stays as it was.
  [[nodiscard]] tl::expected<void, std::string> grow(std::uint64_t frames);
  /// Grows, if it has to, so that one more tenant of so many frames can come, and all others can still have
  /// what they may ever have.
  [[nodiscard]] tl::expected<void, std::string> make_room_for(std::uint64_t frames);

  /// While one is held, the machine does not grow.
  using SizeLock = std::unique_lock<std::mutex>;
  [[nodiscard]] SizeLock hold_size() const { return SizeLock(size_mutex_); }
  /// Makes a tenant follow the machine from now on, until leave(). It has the machine's size already.
  void join(const SizeLock& held, MachineTenant& tenant);
  /// Not under a domain's lock.
  void leave(MachineTenant& tenant);

  /// The memory slots of a VM for the machine's frames from `from` up to `to`: all but the few that KVM uses
  /// itself, which no domain gets.
  [[nodiscard]] static std::vector<pvmmu::FrameTable::Range> slots(std::uint64_t from, std::uint64_t to);
  /// Bytes of the machine-to-phys array for so many frames, a multiple of 2 MiB.
  [[nodiscard]] static std::size_t m2p_bytes(std::uint64_t frames);

  [[nodiscard]] pvmmu::FrameTable& frames() { return frames_; }
  /// Of these, the frames that exist may be accessed.
  [[nodiscard]] pvmmu::Pages pages() const { return pvmmu::Pages(memory_.base(), frames_.most()); }
  [[nodiscard]] const Fd& file() const { return file_; }
  /// The mappings of the process that the domains' views may have.
  [[nodiscard]] MappingBudget& mappings() const { return mappings_; }
  [[nodiscard]] std::size_t most_bytes() const { return memory_.size(); }
  /// Gives the memory of frames that nobody uses back to the host. They are zero then.
  void discard(Mfn first, std::uint64_t count) const {
    memory_.discard(first.raw() * page_size, count * page_size);
  }

  /// The machine-to-phys array: for each MFN an 8-byte PFN, or all ones.
  [[nodiscard]] pvmmu::Pages m2p() const { return pvmmu::Pages(m2p_.base(), m2p_.size() / page_size); }
  [[nodiscard]] const Fd& m2p_file() const { return m2p_file_; }
  [[nodiscard]] std::size_t most_m2p_bytes() const { return m2p_.size(); }

 private:
  Machine(std::uint64_t frames, std::uint64_t most, std::uint64_t max_map_count)
      : frames_(frames, most), mappings_(max_map_count, most_domains) {}
  [[nodiscard]] tl::expected<void, std::string> grow(const SizeLock& held, std::uint64_t frames);
  /// Makes memory and machine-to-phys entries of these frames usable.
  [[nodiscard]] bool open_up(std::uint64_t from, std::uint64_t to);

  Fd file_;
  Mapping memory_;
  Fd m2p_file_;
  Mapping m2p_;
  pvmmu::FrameTable frames_;
  mutable MappingBudget mappings_;
  mutable std::mutex size_mutex_;
  std::vector<MachineTenant*> tenants_;
};

}  // namespace pinfold::vmm
