#include "cli/command_line.h"
#include "core/build_info.h"
#include "core/program.h"
#include "train/memory.h"
#include "train/stop_signals.h"

namespace {

int run(int argc, char** argv) {
  lra::memory::install();
  return lra::run_command_line(argc, argv, lra::version_line("lra-run"));
}

// LibTorch takes some tenths of a second to load; a stop signal that comes then is not lost on a run.
void hold_stop_signals(int, char**, char**) { lra::hold_stop_signals(); }
__attribute__((section(".preinit_array"), used)) void (*const before_libraries)(int, char**,
                                                                                char**) = hold_stop_signals;

}  // namespace

int main(int argc, char** argv) { return lra::run_program("lra-run", argc, argv, run); }
