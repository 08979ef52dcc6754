// Which domain of a machine has which name.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "pvmmu/types.hpp"

namespace pinfold::cli {

/// The guests of a machine, from their making to their end. Guests of other machines are not in it, and no
/// guest can change it.
///
/// Concurrency: any thread.
class DomainNames {
 public:
  /// Keeps a name in the list.
  class Entry {
   public:
    Entry() = default;
    Entry(std::shared_ptr<DomainNames> names, std::string name, DomId id)
        : names_(std::move(names)), name_(std::move(name)) {
      names_->put(name_, id);
    }
    Entry(Entry&& other) noexcept = default;
    Entry& operator=(Entry&& other) noexcept {
      names_.swap(other.names_);
      name_.swap(other.name_);
      return *this;
    }
    ~Entry() {
      if (names_) names_->remove(name_);
    }

   private:
    std::shared_ptr<DomainNames> names_;
    std::string name_;
  };

  /// nullopt: there is no such guest in this machine now.
  [[nodiscard]] std::optional<DomId> find(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    const auto found = domains_.find(name);
    if (found == domains_.end()) return std::nullopt;
    return found->second;
  }

 private:
  void put(const std::string& name, DomId id) {
    const std::lock_guard lock(mutex_);
    domains_.insert_or_assign(name, id);
  }
  void remove(const std::string& name) {
    const std::lock_guard lock(mutex_);
    domains_.erase(name);
  }

  mutable std::mutex mutex_;
  std::map<std::string, DomId> domains_;
};

}  // namespace pinfold::cli
