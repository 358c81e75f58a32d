#include "report/families.h"

#include <map>
#include <tuple>

#include "core/config_files.h"
#include "core/error.h"

namespace lra::report {

// Chosen so that any two are apart for normal, protanopic, deuteranopic and tritanopic eyes, on white and on black, and
// that the strong ones have a contrast of 3:1 against both; a test measures it.
const std::vector<Family>& families() {
  static const std::vector<Family> all = {
      {"full", "full attention", "#7595eb", "#2b87fe", {"softmax", "flash"}},
      {"fixed pattern", "fixed pattern", "#f0a559", "#b18b48", {"local", "strided", "global", "sparse"}},
      {"mixed heads", "mixed heads", "#ce500e", "#9f4f09", {"longformer", "bigbird", "mixed"}},
      {"clustering", "clustering", "#7d63f2", "#713ff3", {"reformer", "routing"}},
      {"learned pattern", "learned pattern", "#bf2dab", "#f700bc", {"sinkhorn"}},
      {"low rank", "low rank", "#13a368", "#00a478", {"linformer", "compressed", "nystromformer", "luna", "skyformer"}},
      {"kernel", "kernel", "#e50745", "#bd3446", {"linear", "efficient", "performer", "rfa", "cosformer"}},
      {"no q·k", "no q·k", "#ddbf06", "#959800", {"synthesizer"}},
      {"attention-free", "attention-free", "#64cbd3", "#316d98", {"fnet", "mlp_mixer", "gmlp"}},
      {"reference", "no mixing", "#6c757f", "#5f6f77", {"none"}},
      {"other", "other", "#a8a29e", "#8a8378", {}}};
  return all;
}

const Family& family_named(const std::string& name) {
  for (const Family& family : families()) {
    if (family.name == name) return family;
  }
  if (name.empty()) return families().back();
  static std::map<std::string, Family> others;
  static const std::vector<std::string> colours = {"#8c6d31", "#a55194", "#637939", "#3d7ea6", "#b5635f", "#7f7f3f"};
  std::size_t sum = 0;  // not std::hash, which differs between standard libraries
  for (const char c : name) sum = sum * 31 + static_cast<unsigned char>(c);
  return others.try_emplace(name, Family{name, name, colours[sum % colours.size()], colours[sum % colours.size()], {}})
      .first->second;
}

bool comes_before(const Family& a, const Family& b) {
  const auto place = [](const Family& family) {
    std::size_t i = 0;
    while (i < families().size() && &families()[i] != &family) ++i;
    return std::tuple(i, family.name);
  };
  return place(a) < place(b);
}

const Family& family_of(const std::string& mixer) {
  for (const Family& family : families()) {
    for (const std::string& member : family.mixers) {
      if (mixer == member || mixer.rfind(member + "_", 0) == 0) return family;
    }
  }
  try {  // one that was added
    return family_named(named_config("mixers", mixer).value("family", ""));
  } catch (const Error&) {
    return families().back();
  }
}

}  // namespace lra::report
