// The growth that configurations declare, beside what the mixers count.
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "core/config_files.h"
#include "mixer_cases.h"

using namespace lra;
using namespace lra::testing;

TEST_CASE("A mixer's declared exponent of time is the slope of its FLOPs at very large lengths", "[mixers][each]") {
  for (const std::string& name : mixer_names()) {
    const Json growth = named_config("mixers", name).at("growth");
    const auto time = growth.at("time").get<double>();
    // Longer where squares with a small factor must outgrow the rest; windows are counted pair by pair, so linear costs
    // get shorter ones.
    const std::int64_t n = time > 1 ? 1 << 20 : 1 << 15;
    const Json options = resolved_options(name, Json::object());
    const MixerTraits traits = mixer_registry().at(name).traits(options);
    MixerSpec spec;
    // A map along the sequence would have up to N² weights; but for FNet its cost follows from n alone.
    spec.max_length = traits.fixed_length && name != "fnet" ? 1024 : 2 * n;
    const auto flops = [&](std::int64_t length) {
      if (name == "fnet") spec.max_length = length;
      return mixer_registry().at(name).make(spec, options)->cost(length).flops;
    };
    const double slope = std::log2(flops(2 * n) / flops(n));
    INFO(name << ": declared " << time << ", slope " << slope);
    CHECK(std::abs(slope - time) < 0.1);
    if (traits.quadratic_memory) CHECK(growth.at("memory") == 2);
  }
}
