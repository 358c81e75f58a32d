#pragma once

#include <string>
#include <vector>

#include "report/collect.h"

namespace lra::report {

/// Something that all who compare the records must know.
struct Remark {
  std::string name;      ///< in a few words: "program revision"
  std::string sentence;  ///< with the values
};

/// Where the records differ, and what makes some of them less than a measurement; empty where nothing does.
std::vector<Remark> remarks_on(const std::vector<Result>& results);

}  // namespace lra::report
