#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "report/score_rows.h"

namespace lra::report {

void name_groups(std::vector<ScoreGroup>& groups) {
  std::vector<std::vector<std::string>> parts(groups.size());
  const auto name = [&](std::size_t i) { return groups[i].task + "/" + fmt::format("{}", fmt::join(parts[i], "/")); };
  for (std::size_t level = 0; !groups.empty() && level < groups.front().qualifiers.size(); ++level) {
    std::map<std::string, std::set<std::string>> values;
    for (std::size_t i = 0; i < groups.size(); ++i) values[name(i)].insert(groups[i].qualifiers[level]);
    std::vector<bool> helps;
    for (std::size_t i = 0; i < groups.size(); ++i) helps.push_back(values[name(i)].size() > 1);
    for (std::size_t i = 0; i < groups.size(); ++i) {
      const bool always = level == 0 || level == 3;  // suite and limit
      if ((helps[i] || always) && !groups[i].qualifiers[level].empty()) parts[i].push_back(groups[i].qualifiers[level]);
    }
  }
  std::map<std::string, int> used, slugs;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    ScoreGroup& group = groups[i];
    if (const int count = ++used[name(i)]; count > 1) parts[i].push_back(fmt::format("set {}", count));
    group.name = group.task_name + (parts[i].empty() ? "" : fmt::format(" ({})", fmt::join(parts[i], ", ")));
    for (const char c : fmt::format("{}_{}", group.task, fmt::join(parts[i], "_"))) {
      const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
      if (plain || (!group.slug.empty() && group.slug.back() != '_')) group.slug += plain ? c : '_';
    }
    group.slug.resize(std::min<std::size_t>(group.slug.size(), 80));
    while (!group.slug.empty() && group.slug.back() == '_') group.slug.pop_back();
    if (const int count = ++slugs[group.slug]; count > 1) group.slug += fmt::format("_{}", count);
  }
}

}  // namespace lra::report
