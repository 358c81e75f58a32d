#include "report/chart_parts.h"

#include <fmt/format.h>

#include <algorithm>

namespace lra::report {

std::string sentence_list(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : "; ") + item;
  return text;
}

void add_not_drawn(std::vector<std::string>& caption,
                   const std::vector<std::pair<std::string, std::string>>& not_drawn) {
  std::vector<std::pair<std::string, std::string>> by_reason;  // reason, names
  for (const auto& [name, reason] : not_drawn) {
    const auto known = std::find_if(by_reason.begin(), by_reason.end(),
                                    [&reason = reason](const auto& one) { return one.first == reason; });
    if (known == by_reason.end())
      by_reason.emplace_back(reason, name);
    else
      known->second += ", " + name;
  }
  std::vector<std::string> parts;
  for (const auto& [reason, names] : by_reason) parts.push_back(fmt::format("{} ({})", names, reason));
  if (!parts.empty()) caption.push_back("Not drawn: " + sentence_list(parts) + ".");
}

}  // namespace lra::report
