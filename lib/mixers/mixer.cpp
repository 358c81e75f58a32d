#include "mixers/mixer.h"

namespace lra {

Registry<MixerEntry>& mixer_registry() {
  static Registry<MixerEntry> registry("mixer");
  return registry;
}

}  // namespace lra
