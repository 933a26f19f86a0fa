// Ends the process at a second signal. Python's handlers cannot: they wait while a long native call keeps the
// interpreter from running.
#pragma once

namespace pgfast {

/// Installs a handler for signal `number` in front of the existing one, Python's. The first signal that the process
/// receives goes to the existing handler. Any further signal with this handler ends the process at once, with status
/// 128 + number, but for SIGHUP: a closed terminal sends it, and its shell once more. Forked processes are not
/// affected. A handler that is set later, for instance by Python's signal.signal, replaces this one. Returns false if
/// the system refuses or if there is no plain handler to pass a signal on to.
bool exit_at_second_signal(int number);

/// Restarts the count of received signals. Only the process that called this last is ended by a second signal.
void count_signals_anew();

}  // namespace pgfast
