// A domain as the other domains of its machine see it: what it granted to them.
#pragma once

#include <memory>
#include <mutex>

#include "devices/granted_page.hpp"
#include "vmm/for_devices/frame_receiver.hpp"
#include "vmm/for_devices/neighbours.hpp"

namespace pinfold::devices {

/// The way to a domain's grants for the hypercalls of its neighbours. It is there as long as its domain can
/// be visited; a use that was begun by it may outlast the domain.
///
/// Concurrency: any thread without any domain's lock, during a visit (vmm/for_devices/neighbours.hpp).
/// Neighbours that use grants of one domain do so one after the other: each holds one frame, which takes an
/// atomic count, or else the domain's lock.
class Grantor {
 public:
  Grantor(std::shared_ptr<GrantEntries> entries, std::unique_ptr<vmm::FrameHolder> frames,
          std::unique_ptr<vmm::FrameReceiver> receiver)
      : entries_(std::move(entries)), frames_(std::move(frames)), receiver_(std::move(receiver)) {}

  /// Begins a use. The errors are those of GrantAccess::use().
  [[nodiscard]] tl::expected<GrantedPage, Errno> use(GrantRef ref, DomId grantee, GrantUse use,
                                                     GrantSpan span);
  /// Hands over a frame that is nobody's to the domain, which accepts one of `giver` by this entry. The
  /// errors are those of FrameReceiver::receive() and GrantEntries::commit_transfer().
  [[nodiscard]] Status receive(GrantRef ref, DomId giver, Mfn frame);

 private:
  std::shared_ptr<GrantEntries> entries_;
  std::mutex mutex_;
  std::unique_ptr<vmm::FrameHolder> frames_;  ///< Guarded by the mutex.
  std::unique_ptr<vmm::FrameReceiver> receiver_;
};

using GrantNeighbours = vmm::Neighbours<Grantor>;

}  // namespace pinfold::devices
