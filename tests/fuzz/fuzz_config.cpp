#include "core/config.h"
#include "core/config_reader.h"
#include "fuzz_input.h"

namespace {

template <class Options>
void read(const lra::LayeredJson& source, const char* pointer) {
  try {
    lra::ConfigReader reader(source, pointer);
    Options options;
    options.describe(reader);
    lra::to_json_object(options);
    reader.finish();
  } catch (const lra::Error&) {
  }
}

}  // namespace

/// Two config files, the second merged over the first, with a zero byte between them.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = text_of(data, size);
  const std::size_t cut = std::min(text.find('\0'), text.size());
  lra::LayeredJson source;
  for (const std::string_view part : {text.substr(0, cut), text.substr(std::min(cut + 1, text.size()))}) {
    const MemoryFile file(part);
    try {
      source.merge(lra::read_json(file.path()), "a file");
    } catch (const lra::Error&) {
    }
  }
  for (const char* pointer : {"", "/a"}) {
    read<lra::TaskConfig>(source, pointer);
    read<lra::ModelConfig>(source, pointer);
    read<lra::TrainConfig>(source, pointer);
    read<lra::MeasureConfig>(source, pointer);
  }
  source.json().dump(-1, ' ', false, lra::Json::error_handler_t::replace);
  return 0;
}
