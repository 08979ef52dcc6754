// What the results of an image's transfers mean for its later ones, and for the user.
#pragma once

#include <atomic>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "devices/block/image.hpp"

namespace pinfold::devices::block {

/// Of one image, for all of its queues.
///
/// Concurrency: any thread.
class ImageResults {
 public:
  /// `name` is for messages.
  explicit ImageResults(std::string name) : name_(std::move(name)) {}

  [[nodiscard]] const std::string& name() const { return name_; }
  /// What a transfer's result is, given what the host said (0 or an errno): the same, but for a flush. After
  /// one flush failed, all later ones fail: the host has dropped what it could not write, and reports it only
  /// once. The first failure of each kind is logged for the user.
  [[nodiscard]] int result_of(const Transfer& transfer, int host_error);

 private:
  void log_once(const Transfer& transfer, int error);

  std::string name_;
  std::atomic<int> failed_flush_ = 0;  ///< The errno of the first flush that failed.
  std::mutex mutex_;
  std::set<std::pair<Operation, int>> logged_;
};

}  // namespace pinfold::devices::block
