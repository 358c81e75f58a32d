#pragma once

#include <string>
#include <vector>

namespace lra::report {

/// One way of mixing tokens, with the same colour in every picture.
struct Family {
  std::string name;                 ///< `family` in configs/mixers/*.json
  std::string title;                ///< in pictures
  std::string colour;               ///< of areas
  std::string strong;               ///< of lines and rims: 3:1 against the page, light or dark
  std::vector<std::string> mixers;  ///< may include published models without a configuration here
};

/// Those that the report knows, in the order of the pictures; the last one, "other", is for what nobody named.
const std::vector<Family>& families();

/// A family that is not among `families()` keeps its name and has a colour that depends on it alone.
const Family& family_named(const std::string& name);

/// Its place in pictures: as in `families()`, others behind them by name.
bool comes_before(const Family& a, const Family& b);

/// Looks for the mixer's name, then for the part before an underscore (a variant).
const Family& family_of(const std::string& mixer);

}  // namespace lra::report
