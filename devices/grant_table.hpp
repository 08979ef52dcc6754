// Hypercall 20, grant_table_op: a domain's grant table, version 1 (xen/grant_table.h).
#pragma once

#include <cstdint>
#include <optional>

#include "devices/device.hpp"
#include "devices/grantor.hpp"
#include "devices/maptrack.hpp"
#include "devices/xen_abi.hpp"
#include "vmm/for_devices/grant_target.hpp"
#include "vmm/for_devices/hypercall.hpp"

namespace pinfold::devices {

/// A guest sets up its table and grants by writing entries; backends in the monitor use entries(). It can map
/// and copy what it granted to itself, and what its neighbours, the other domains of the machine, granted to
/// it.
///
/// Concurrency: called with the domain's lock held, which is let go of while a neighbour is visited
/// (use_neighbours()). Whatever else the domain's vCPUs do meanwhile, a handle that is open and not yet
/// mapped is nobody else's.
class GrantTable final : public Device {
 public:
  /// In frames, for the table and for the handles of mappings. The defaults are Xen's own.
  struct Limits {
    std::uint32_t table = 64;
    std::uint32_t maptrack = 1024;
  };

  /// The other domains, and how they reach this one's grants; neither is there in tests of one domain.
  struct Machine {
    std::shared_ptr<GrantNeighbours> neighbours;
    std::unique_ptr<vmm::FrameHolder> frames_for_neighbours;
    std::unique_ptr<vmm::FrameReceiver> receiver_for_neighbours;
  };

  GrantTable(DomId self, vmm::SharedFrameSource& frames, vmm::GrantTarget& target, Limits limits,
             Machine machine = {});

  void register_with(vmm::HypercallTable& table);
  void attach(vmm::HypercallTable& hypercalls, BootRings&) override;
  void detach() override;
  /// RDI the operation (GNTTABOP_*), RSI the array, RDX how many.
  std::int64_t grant_table_op(vmm::Hypercall& call);

  [[nodiscard]] GrantEntries& entries() { return *entries_; }
  [[nodiscard]] DomId domain() const { return self_; }
  /// What the domain has mapped; as Maptrack::list().
  bool list_mapped(pvmmu::Held, std::uint32_t& next, Mfn frame, std::vector<MappedGrant>& found) const {
    constexpr std::uint32_t at_a_time = 4096;
    return maptrack_.list(next, frame, found, at_a_time);
  }

 private:
  /// One end of a copy. A list of copies uses it for as long as its operations name the same.
  struct CopyEnd {
    std::uint16_t domain = DOMID_INVALID;
    bool by_grant = false;
    std::uint64_t named = 0;  ///< The reference, or the frame.
    GrantedPage grant;        ///< One of these two.
    vmm::SharedPage own;
    [[nodiscard]] bool present() const { return grant.present() || own.present(); }
    [[nodiscard]] const vmm::SharedPage& page() const { return by_grant ? grant.page() : own; }
    [[nodiscard]] vmm::SharedPage& written_page() { return by_grant ? grant.shared() : own; }
  };
  struct CopyEnds {
    CopyEnd source, dest;
  };

  std::int64_t about_table(vmm::Hypercall& call, std::uint32_t operation);
  std::int64_t setup_table(vmm::Hypercall& call, gnttab_setup_table& args);
  std::int64_t query_size(pvmmu::Held held, gnttab_query_size& args);
  std::int64_t set_version(gnttab_set_version& args);
  std::int64_t get_version(gnttab_get_version& args) const;
  std::int64_t get_status_frames(gnttab_get_status_frames& args) const;
  std::int16_t swap(const gnttab_swap_grant_ref& args);

  // grant_maps.cpp
  std::int16_t map(vmm::Hypercall& call, gnttab_map_grant_ref& args);
  std::int16_t map_by(std::uint32_t handle, vmm::Hypercall& call, const gnttab_map_grant_ref& args);
  std::int16_t refuse_map(vmm::Hypercall& call, const gnttab_map_grant_ref& args, pvmmu::Rule rule);
  std::int16_t refuse_unmap(vmm::Hypercall& call, std::uint32_t handle, pvmmu::Rule rule);
  std::int16_t unmap(vmm::Hypercall& call, const gnttab_unmap_grant_ref& args);
  std::int16_t replace(vmm::Hypercall& call, const gnttab_unmap_and_replace& args);
  void part_ended(std::uint32_t handle, std::uint32_t part);
  void let_go(vmm::Hypercall& call);

  // grant_transfer.cpp
  std::int16_t transfer(vmm::Hypercall& call, const gnttab_transfer& args);
  std::int16_t transfer_to_itself(vmm::Hypercall& call, GrantRef ref, Mfn frame);
  [[nodiscard]] std::optional<pvmmu::Rule> hand_over(vmm::Hypercall& call, DomId receiver, GrantRef ref,
                                                     Mfn frame);

  // grant_copy.cpp
  std::int16_t copy(vmm::Hypercall& call, const gnttab_copy& args, CopyEnds& ends);
  [[nodiscard]] std::int16_t copy_between(vmm::Hypercall& call, const gnttab_copy& args, CopyEnds& ends);
  void tell_copied(vmm::Hypercall& call, const gnttab_copy& args, GrantUse use, const CopyEnd& end);
  [[nodiscard]] std::int16_t check_domains(vmm::Hypercall& call, const gnttab_copy& args);
  [[nodiscard]] std::int16_t claim(vmm::Hypercall& call, const gnttab_copy& args, GrantUse use, CopyEnd& end);

  [[nodiscard]] bool is_self(std::uint16_t dom) const { return dom == DOMID_SELF || DomId(dom) == self_; }
  /// GNTST_permission_denied for another domain's table, GNTST_bad_domain if there is none such.
  [[nodiscard]] std::int16_t check_table_of(std::uint16_t dom) const;
  [[nodiscard]] bool is_neighbour(DomId domain) const;
  /// Tells that the use was refused, for that reason; returns what the guest is told.
  std::int16_t refuse(vmm::Hypercall& call, vmm::GrantAttempt attempt, pvmmu::Rule rule);
  // Begin a use of what a domain, or this one, or another, granted to this one; the reason if that can't be.
  using Used = tl::expected<GrantedPage, pvmmu::Rule>;
  [[nodiscard]] Used use_grant(vmm::Hypercall& call, DomId owner, std::uint32_t ref, GrantUse use,
                               GrantSpan span);
  [[nodiscard]] Used use_own(pvmmu::Held held, GrantRef ref, GrantUse use, GrantSpan span);
  [[nodiscard]] Used use_neighbours(vmm::Hypercall& call, DomId owner, GrantRef ref, GrantUse use,
                                    GrantSpan span);

  DomId self_;
  vmm::GrantTarget& target_;
  std::shared_ptr<GrantEntries> entries_;
  Maptrack maptrack_;
  std::vector<GrantedPage> ended_;  ///< Uses that end when their entries are flushed.
  std::shared_ptr<GrantNeighbours> neighbours_;
  std::unique_ptr<Grantor> grantor_;
};

}  // namespace pinfold::devices
