#pragma once

#include <string>
#include <vector>

namespace lra::report {

/// One way of mixing tokens, with the same colour in every picture.
struct Family {
  std::string name;   ///< `family` in configs/mixers/*.json
  std::string title;  ///< in pictures
  std::string colour;
  std::vector<std::string> mixers;  ///< also published models that have no configuration here
};

/// In the order of the pictures; the last one, "other", is for what nobody named.
const std::vector<Family>& families();

const Family& family_named(const std::string& name);

/// By the mixer's name, or its beginning up to an underscore (a variant).
const Family& family_of(const std::string& mixer);

}  // namespace lra::report
