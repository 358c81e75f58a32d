#pragma once

#include <string>

namespace lra {

/// Blocks the stop signals (SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU) until install_stop_signals or
/// release_stop_signals is called. Children started meanwhile inherit the block.
void hold_stop_signals();

/// Unblocks them. A signal that came meanwhile acts now.
void release_stop_signals();

/// From now on a stop signal only asks for a stop, however often it comes: work in progress looks at stop_requested,
/// saves what it has and ends. SIGHUP stays ignored if it was (nohup). Standard output and error ask for a stop too
/// when they are a pipe that nobody reads any more; writing to such a pipe, or beyond the limit of a file's size, is an
/// error of the write, not a signal. SIGQUIT (Ctrl-\ at a terminal) and SIGKILL still end the process at once.
/// `announce`: the first signal is answered by a line on standard error, if that is a terminal.
void install_stop_signals(bool announce);

/// Whether a stop was asked for.
bool stop_requested();

/// What asked for the stop: "stopped by SIGTERM", or that nobody reads what is said.
std::string stop_reason();

/// The signal that passes the stop on to another process.
int stop_signal();

/// Sets or clears the flag; for tests.
void set_stop_requested(bool value);

}  // namespace lra
