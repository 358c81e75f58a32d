#include "report/families.h"

#include "core/config_files.h"
#include "core/error.h"

namespace lra::report {

const std::vector<Family>& families() {
  static const std::vector<Family> all = {
      {"full", "full attention", "#3b6fb6", {"softmax", "flash"}},
      {"fixed pattern", "fixed pattern", "#e08a1e", {"local", "strided", "global", "sparse"}},
      {"mixed heads", "mixed heads", "#8f5a24", {"longformer", "bigbird", "mixed"}},
      {"clustering", "clustering", "#8a5bb5", {"reformer", "routing"}},
      {"learned pattern", "learned pattern", "#c4569d", {"sinkhorn"}},
      {"low rank", "low rank", "#2f9e6e", {"linformer", "compressed", "nystromformer", "luna", "skyformer"}},
      {"kernel", "kernel", "#c8443f", {"linear", "efficient", "performer", "rfa", "cosformer"}},
      {"no q·k", "no q·k", "#8a8f1f", {"synthesizer"}},
      {"attention-free", "attention-free", "#1f9fb3", {"fnet", "mlp_mixer", "gmlp"}},
      {"reference", "no mixing", "#6b7280", {"none"}},
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
