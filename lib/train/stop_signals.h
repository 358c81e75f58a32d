#pragma once

namespace lra {

/// From now on SIGINT and SIGTERM only set a flag; work in progress looks at it, saves what it has and ends. A second signal ends the
/// process at once.
void install_stop_signals();

/// Whether a stop was asked for.
bool stop_requested();

/// Sets or clears the flag; for tests.
void set_stop_requested(bool value);

}  // namespace lra
