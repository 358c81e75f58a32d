#include "train/stop_signals.h"

#include <signal.h>

#include <atomic>

namespace lra {
namespace {

std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // what a signal handler may touch

}  // namespace

void install_stop_signals() {
  struct sigaction action {};
  action.sa_handler = [](int) { stop = true; };
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool stop_requested() { return stop; }

void set_stop_requested(bool value) { stop = value; }

}  // namespace lra
