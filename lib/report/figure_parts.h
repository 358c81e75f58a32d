#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "report/figures.h"

namespace lra::report {

/// A chart in all layouts.
template <class C>
View view_of(std::vector<std::size_t> choice, const C& chart, const std::string& file = {}) {
  View view{std::move(choice), {}, file};
  for (std::size_t i = 0; i < layouts.size(); ++i) view.drawings[i] = draw(chart, layouts[i]);
  return view;
}

/// The place of the option in the list, added where it is new.
inline std::size_t option(std::vector<std::string>& options, const std::string& name) {
  const auto found = std::find(options.begin(), options.end(), name);
  if (found != options.end()) return static_cast<std::size_t>(found - options.begin());
  options.push_back(name);
  return options.size() - 1;
}

}  // namespace lra::report
