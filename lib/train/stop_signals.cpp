#include "train/stop_signals.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <string_view>
#include <utility>

namespace lra {
namespace {

constexpr std::array<std::pair<int, const char*>, 6> stop_signals{{{SIGINT, "SIGINT"},
                                                                   {SIGTERM, "SIGTERM"},
                                                                   {SIGHUP, "SIGHUP"},
                                                                   {SIGUSR1, "SIGUSR1"},
                                                                   {SIGUSR2, "SIGUSR2"},
                                                                   {SIGXCPU, "SIGXCPU"}}};

std::atomic<int> received{0};                          // the first stop signal
static_assert(std::atomic<int>::is_always_lock_free);  // what a signal handler may touch
bool answers = false;
std::array<bool, 2> watched{};  // standard output and error

void handle(int number) {
  int none = 0;
  if (!received.compare_exchange_strong(none, number) || !answers) return;
  constexpr std::string_view text =
      "\nstopping once the step is done and saved (Ctrl-\\ ends it at once, without saving)\n";
  const int kept = errno;
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
  errno = kept;
}

void change_mask(int how) {
  sigset_t set;
  sigemptyset(&set);
  for (const auto& [number, name] : stop_signals) sigaddset(&set, number);
  pthread_sigmask(how, &set, nullptr);
}

bool nobody_reads(int descriptor) {
  if (!watched[static_cast<std::size_t>(descriptor - STDOUT_FILENO)]) return false;
  pollfd place{descriptor, 0, 0};
  return ::poll(&place, 1, 0) == 1 && (place.revents & (POLLERR | POLLHUP)) != 0;
}

}  // namespace

void hold_stop_signals() { change_mask(SIG_BLOCK); }

void release_stop_signals() { change_mask(SIG_UNBLOCK); }

void install_stop_signals(bool announce) {
  answers = announce && ::isatty(STDERR_FILENO) == 1;
  // Not a terminal: when one is closed, those who want to go on without it have said so by nohup or disown.
  watched = {::isatty(STDOUT_FILENO) != 1, ::isatty(STDERR_FILENO) != 1};
  struct sigaction action{};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const auto& [number, name] : stop_signals) {
    struct sigaction before{};
    sigaction(number, nullptr, &before);
    if (number != SIGHUP || before.sa_handler != SIG_IGN) sigaction(number, &action, nullptr);
  }
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  release_stop_signals();
}

bool stop_requested() { return received != 0 || nobody_reads(STDERR_FILENO) || nobody_reads(STDOUT_FILENO); }

std::string stop_reason() {
  for (const auto& [number, name] : stop_signals) {
    if (number == received) return std::string("stopped by ") + name;
  }
  return fmt::format("stopped, for nobody reads its standard {} any more",
                     nobody_reads(STDERR_FILENO) ? "error" : "output");
}

int stop_signal() { return received != 0 ? received.load() : SIGTERM; }

void set_stop_requested(bool value) { received = value ? SIGTERM : 0; }

}  // namespace lra
