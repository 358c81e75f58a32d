#include "report/families.h"

#include "core/config_files.h"
#include "core/error.h"

namespace lra::report {

// Chosen so that any two are apart for normal, protanopic, deuteranopic and tritanopic eyes, on white and on black; a test measures it.
const std::vector<Family>& families() {
  static const std::vector<Family> all = {
      {"full", "full attention", "#7595eb", {"softmax", "flash"}},
      {"fixed pattern", "fixed pattern", "#f0a559", {"local", "strided", "global", "sparse"}},
      {"mixed heads", "mixed heads", "#ce500e", {"longformer", "bigbird", "mixed"}},
      {"clustering", "clustering", "#7d63f2", {"reformer", "routing"}},
      {"learned pattern", "learned pattern", "#bf2dab", {"sinkhorn"}},
      {"low rank", "low rank", "#13a368", {"linformer", "compressed", "nystromformer", "luna", "skyformer"}},
      {"kernel", "kernel", "#e50745", {"linear", "efficient", "performer", "rfa", "cosformer"}},
      {"no q·k", "no q·k", "#ddbf06", {"synthesizer"}},
      {"attention-free", "attention-free", "#64cbd3", {"fnet", "mlp_mixer", "gmlp"}},
      {"reference", "no mixing", "#6c757f", {"none"}},
      {"other", "other", "#a8a29e", {}}};
  return all;
}

const Family& family_named(const std::string& name) {
  for (const Family& family : families()) {
    if (family.name == name) return family;
  }
  return families().back();
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
