// A disk of a guest: an image behind the block protocol (xen/io/blkif.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "devices/block/image.hpp"
#include "devices/block/queue_link.hpp"
#include "devices/queue_thread_reserve.hpp"
#include "devices/xenbus/backend.hpp"

namespace pinfold::devices::block {

/// What the guest finds in xenstore about a disk, besides its image's geometry.
struct DiskNodes {
  std::uint32_t number = 0;  ///< The virtual device (xen-vbd-interface(7)): 51712 is xvda.
  std::string vdev;          ///< The same as the user wrote it.
  bool cdrom = false;
};

/// A disk's ties to its guest.
struct DiskLinks {
  EventChannels& events;
  GrantEntries& grants;
  /// A new one for each thread; called when the disk is made.
  std::function<std::unique_ptr<vmm::FrameHolder>()> frame_holder;
  std::function<void()> wake_bus;
  /// Where its queues' threads come from; null: each is made for it.
  std::shared_ptr<QueueThreadReserve> threads = nullptr;
  /// False: the frontend copies what it transfers. A driver domain's would else grant frames that its
  /// backends have mapped of other domains.
  bool trusted = true;
};

/// The backend of one disk. Each queue has a thread; a frontend may use as many queues as there are, or
/// fewer.
class Disk final : public xenbus::Backend {
 public:
  static constexpr std::uint32_t most_queues = max_queues;

  /// `image` and what `links` names outlive this. An error is one line.
  [[nodiscard]] static tl::expected<std::unique_ptr<Disk>, std::string> make(std::shared_ptr<Image> image,
                                                                             DiskNodes nodes, DiskLinks links,
                                                                             std::uint32_t queues);

  [[nodiscard]] xenbus::DeviceNodes backend_nodes() const override;
  [[nodiscard]] xenbus::DeviceNodes frontend_nodes() const override;
  void start() override;
  [[nodiscard]] xenbus::DeviceNodes features() const override;
  [[nodiscard]] tl::expected<xenbus::DeviceNodes, std::string> connect(
      const xenbus::FrontendNodes& frontend) override;
  [[nodiscard]] tl::expected<std::uint64_t, std::string> grow(std::optional<std::uint64_t> bytes) override;
  [[nodiscard]] xenbus::DeviceNodes news() override;
  [[nodiscard]] bool see_off() override;
  void disconnect() override;
  [[nodiscard]] bool is_disconnected() override;
  [[nodiscard]] std::optional<std::string> failure() override;
  /// The sums over the queues.
  [[nodiscard]] xenbus::DeviceCounts counts() const override;

 private:
  struct Queue {
    QueueParts parts;
    OwnedQueueThread thread;  ///< Ends before what it uses.
  };

  Disk(std::shared_ptr<Image> image, DiskNodes nodes, DiskLinks links);
  [[nodiscard]] tl::expected<std::uint32_t, std::string> queues_of(
      const xenbus::FrontendNodes& frontend) const;
  [[nodiscard]] tl::expected<void, std::string> connect_queue(Queue& queue,
                                                              const xenbus::FrontendNodes& nodes);
  [[nodiscard]] xenbus::DeviceNodes properties() const;

  std::shared_ptr<Image> image_;
  const Geometry geometry_;  ///< Its sectors are those at the start.
  std::atomic<bool> grown_ = false;
  DiskNodes nodes_;
  DiskLinks links_;
  GrantAccess rings_;  ///< The bus's thread takes the ring pages into use.
  std::vector<std::unique_ptr<Queue>> queues_;
};

}  // namespace pinfold::devices::block
