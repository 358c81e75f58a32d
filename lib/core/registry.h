#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/suggest.h"

namespace lra {

/// Name → entry (a struct with the factory and what is known before anything is made). Entries register themselves from
/// a namespace-scope constant at the end of their own file; names are sorted.
template <class Entry>
class Registry {
 public:
  /// `kind` is the word used in messages: "mixer", "task".
  explicit Registry(std::string kind) : kind_(std::move(kind)) {}

  bool add(const std::string& name, Entry entry) {
    if (!entries_.emplace(name, std::move(entry)).second)
      throw Error("the " + kind_ + " '" + name + "' is registered twice");
    return true;
  }

  const Entry& at(const std::string& name) const {
    const auto found = entries_.find(name);
    if (found == entries_.end()) throw Error("unknown " + kind_ + " '" + name + "'", suggestion(name, names()));
    return found->second;
  }

  bool contains(const std::string& name) const { return entries_.count(name) != 0; }

  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& [name, entry] : entries_) result.push_back(name);
    return result;
  }

 private:
  std::string kind_;
  std::map<std::string, Entry> entries_;
};

}  // namespace lra
